"""The only room that asks the machine for time and chance. Everything else gets them as arguments."""

import secrets
import time


def now_ms() -> int:
    """Wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def random_bytes(size: int) -> bytes:
    """Bytes that nobody can guess."""
    return secrets.token_bytes(size)
