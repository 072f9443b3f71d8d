"""Shared by all tests: Hypothesis prints what replays a failure, and never fails for being slow on a busy machine. Ctrl-C
and SIGHUP work in them, even if whoever runs them in the background has them ignored: some send them."""

import signal

from hypothesis import HealthCheck, settings

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile(
    "replica", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("replica")
