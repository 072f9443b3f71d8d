"""Shared by all tests: Hypothesis prints what replays a failure, and never fails for being slow on a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "replica", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("replica")
