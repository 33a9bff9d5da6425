"""How many examples a property test tries."""

import os

ALL = "TEST_ALL_EXAMPLES"
"""The environment variable with which every property test tries all its examples; `make test-all` sets it."""

_LEAST = 5


def examples(number: int) -> int:
    """``number`` with ``ALL``, otherwise a quarter of it and at least five: they are others in each run."""
    return number if os.environ.get(ALL) else min(number, max(_LEAST, number // 4))
