"""Runs whose process is gone without a word: Dagster takes them for going on, and its queue of one waits for them."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import dagster as dg

PROCESS_TAG = "csm/process"
GOING_ON = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tag(run_id: str) -> dict[str, str]:
    """A tag that tells by which process of which machine a run is done; it means nothing on any other run."""
    return {PROCESS_TAG: " ".join((run_id, socket.gethostname(), str(os.getpid()), _start_of(os.getpid())))}


def note_process(context: dg.InitResourceContext) -> None:
    """Tag the run that starts with its process, unless whoever made it has done so."""
    run, instance = context.run, context.instance
    if run and instance and not run.tags.get(PROCESS_TAG, "").startswith(run.run_id):
        instance.add_run_tags(run.run_id, process_tag(run.run_id))


def close_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process, on this machine, is gone; returns their ids. What they did stays done."""
    abandoned = [run for run in instance.get_runs(dg.RunsFilter(statuses=GOING_ON)) if _is_abandoned(run)]
    for run in abandoned:
        instance.report_run_failed(
            run, "The process of this run is gone: it was killed, or its machine went down. Run its days again."
        )
    return [run.run_id for run in abandoned]


def _is_abandoned(run: dg.DagsterRun) -> bool:
    run_id, host, pid, start = (*run.tags.get(PROCESS_TAG, "").split(" "), "", "", "", "")[:4]
    # A run that is made from another one, to do it again, has its tags.
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
    """When a process started, since a number may be given again; empty where the system does not tell."""
    with suppress(OSError):
        # After the name, which may hold anything, in parentheses: the twentieth field.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""
