"""Ends a service that a test started in a session of its own, with everything that it started itself."""

import os
import signal
import subprocess
import time

PATIENCE_SECONDS = 60


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask all processes of the group to end, and end those that do not."""
    until = time.monotonic() + PATIENCE_SECONDS
    _signal(process.pid, signal.SIGTERM)
    # A zombie counts as there until it is waited for.
    while process.poll() is None or _signal(process.pid, 0):
        if time.monotonic() > until:
            _signal(process.pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    process.wait()


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
