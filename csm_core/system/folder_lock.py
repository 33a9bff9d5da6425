"""An exclusive lock on a folder: it leaves no file behind, and ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed


@contextmanager
def folder_lock(folder: Path, before_wait: Callable[[RetryCallState], None]) -> Generator[None]:
    """Hold the lock of a folder; ``before_wait`` is called at each attempt while another process holds it.

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
    """Hold the lock of a folder if no other process holds it; gives whether it is held."""
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
