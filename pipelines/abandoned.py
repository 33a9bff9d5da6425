"""Closes runs of killed processes: Dagster shows them as running, and its queue waits for them."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import dagster as dg

PROCESS_TAG = "csm/process"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tag(run_id: str) -> dict[str, str]:
    """A tag with the process and the machine of a run; it is valid only for that run."""
    return {PROCESS_TAG: " ".join((run_id, socket.gethostname(), str(os.getpid()), _start_of(os.getpid())))}


def note_process(context: dg.InitResourceContext) -> None:
    """Tag a starting run with its process, unless it has the tag already."""
    run, instance = context.run, context.instance
    if run and instance and not run.tags.get(PROCESS_TAG, "").startswith(run.run_id):
        instance.add_run_tags(run.run_id, process_tag(run.run_id))


def close_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed if their process on this machine no longer exists; returns their ids."""
    abandoned = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if _is_abandoned(run)]
    for run in abandoned:
        # Completed steps are kept.
        instance.report_run_failed(
            run, "The process of this run no longer exists: it was killed, or its machine stopped. Run its days again."
        )
    return [run.run_id for run in abandoned]


def _is_abandoned(run: dg.DagsterRun) -> bool:
    run_id, host, pid, start = (*run.tags.get(PROCESS_TAG, "").split(" "), "", "", "", "")[:4]
    # A re-execution copies the tags of the original run.
    if run_id != run.run_id or host != socket.gethostname():
        return False
    return not _exists(int(pid)) or _start_of(int(pid)) != start


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_of(pid: int) -> str:
    """The start time of a process, because process ids are reused; empty if the system does not provide it."""
    with suppress(OSError):
        # The 20th field after the name, which is in parentheses and may contain any character.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""
