"""An exclusive lock on a folder. It leaves no file behind, and the system releases it when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed


@contextmanager
def folder_lock(folder: Path, before_wait: Callable[[RetryCallState], None]) -> Generator[None]:
    """Hold the lock of a folder; ``before_wait`` is called before each retry while another process holds the lock.

    Raises OSError for a folder that cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(BlockingIOError), wait=wait_fixed(0.25), before_sleep=before_wait
        ):
            with attempt:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock_if_free(folder: Path) -> Generator[bool]:
    """Hold the lock of a folder if no other process holds it; yields whether the lock was acquired."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
