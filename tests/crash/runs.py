"""Runs of ``csm`` in processes of their own: to the end, or up to an instant at which they are killed. Needs /proc.

Instants are measured in processor time, so that a busy machine moves none of them.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import CSM, Company


class Run:
    """``csm`` started on a company, in a process and group of its own, its output in the file ``output``."""

    def __init__(self, company: Company, arguments: Sequence[str], *, fresh: bool) -> None:
        temporary = company.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        environment = {**company.environment, "TMPDIR": str(temporary)}
        self.output = company.folder / "output"
        if fresh:
            with self.output.open("w") as output:
                self._process: Any = subprocess.Popen(
                    [*CSM, *arguments],
                    stdout=output,
                    stderr=output,
                    cwd=company.folder,
                    env=environment,
                    start_new_session=True,
                )
        else:
            self._process = _forking().Process(
                target=_csm, args=(str(company.folder), list(arguments), environment, str(self.output))
            )
            self._process.start()
        self._fresh = fresh
        self.pid: int = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None if self._fresh else not self._process.is_alive()

    def processor_seconds(self) -> float:
        """What the process has used so far, of all its threads; 0 once it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self, *, group: bool) -> None:
        """Kill the process, or the whole group that it leads."""
        if group and os.getpgid(self.pid) == self.pid:
            os.killpg(self.pid, signal.SIGKILL)
        else:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit status; negative for a signal."""
        if self._fresh:
            return self._process.wait(900)
        self._process.join(900)
        return self._process.exitcode


def run_whole(company: Company, arguments: Sequence[str], *, fresh: bool = False) -> float:
    """Run to the end; the processor seconds that it took. Raises RuntimeError with its output if it failed."""
    run = Run(company, arguments, fresh=fresh)
    seconds = 0.0
    while not run.ended:
        seconds = max(seconds, run.processor_seconds())
        time.sleep(0.02)
    if run.wait():
        message = f"csm {' '.join(arguments)} ended with {run.wait()}: {run.output.read_text()[-3000:]}"
        raise RuntimeError(message)
    return seconds


def run_killed(company: Company, arguments: Sequence[str], after: float, *, fresh: bool, group: bool) -> int | None:
    """Run, and kill after so many processor seconds; the group that it led, or None if it had ended before."""
    run = Run(company, arguments, fresh=fresh)
    while not run.ended:
        if run.processor_seconds() >= after:
            run.kill(group=group)
            break
        time.sleep(0.003)
    return run.pid if run.wait() == -signal.SIGKILL else None


def processes_of(group: int) -> list[str]:
    """The processes of a group that are still at work, each by its number and name."""
    found: list[str] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = status.read_text().rpartition(")")
        except OSError:
            continue
        state, _, of_group, *_ = after.split()
        if int(of_group) == group and state != "Z":
            found.append(f"process {before})")
    return found


def _forking() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pipelines.run", "csm_core.operations.run_report", "csm_core.publishing.notion.publish", __name__]
    )
    return context


def _csm(folder: str, arguments: list[str], environment: dict[str, str], output: str) -> None:
    os.setsid()
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = ["csm", *arguments]
    from pipelines.main import main

    main()
