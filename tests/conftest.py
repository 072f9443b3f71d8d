"""Shared by all tests: Hypothesis prints what replays a failure, and never fails for being slow on a busy machine. Ctrl-C
works in them, even if whoever runs them in the background has it ignored: some press it."""

import signal

from hypothesis import HealthCheck, settings

signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "replica", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("replica")
