"""Dagster's history with its connections kept open: the same files, no event lost, and the UI hears of each."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
import yaml

from csm_core.config import PROJECT_ROOT
from pipelines.open_sqlite import difference


@dg.asset
def counted() -> dg.MaterializeResult:
    """A number."""
    return dg.MaterializeResult(metadata={"number": 1})


@pytest.fixture
def home(tmp_path) -> Path:
    """The home of an instance as the project has it."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((PROJECT_ROOT / "dagster.yaml").read_text())
    return folder


@pytest.fixture
def plain_home(home) -> Path:
    """A home with the same files that leaves Dagster's instance as it is."""
    folder = home.parent / "plain"
    folder.mkdir()
    settings = yaml.safe_load((home / "dagster.yaml").read_text())
    del settings["instance_class"]
    settings["storage"] = {"sqlite": {"base_dir": str(home)}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return folder


def materialised(instance: dg.DagsterInstance) -> list[str]:
    records = instance.fetch_materializations(counted.key, limit=100).records
    return [record.run_id for record in reversed(records)]


def open_histories(home: Path) -> set[str]:
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {Path(name).name for name in names if name.startswith(str(home)) and name.endswith(".db")}


def test_dagsters_own_storage_reads_it_and_may_take_turns_with_it(home, plain_home):
    runs: list[str] = []
    for folder in (home, plain_home, home, plain_home):
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            runs.append(dg.materialize([counted], instance=instance).run_id)
            assert materialised(instance) == runs
            for run_id in runs:
                assert instance.get_run_by_id(run_id).is_success
                kinds = [event.dagster_event_type.value for event in events_of(instance, run_id)]
                assert (kinds[0], kinds[-1]) == ("ASSET_MATERIALIZATION_PLANNED", "PIPELINE_SUCCESS")


def events_of(instance: dg.DagsterInstance, run_id: str) -> list[dg.EventLogEntry]:
    return [entry for entry in instance.all_logs(run_id) if entry.is_dagster_event]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are read from /proc")
def test_few_files_stay_open_however_many_runs_there_are_and_none_after_the_end(home):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = [dg.materialize([counted], instance=instance).run_id for _ in range(11)]
        for run_id in runs:
            assert events_of(instance, run_id)
        assert 2 <= len(open_histories(home)) <= 9
        instance.wipe()
        assert materialised(instance) == instance.get_runs() == []
        again = dg.materialize([counted], instance=instance).run_id
        assert materialised(instance) == [again]
    assert open_histories(home) == set()


def test_who_watches_a_run_hears_of_an_event_while_the_writer_goes_on(home, plain_home):
    with (
        dg.DagsterInstance.from_config(str(home)) as writer,
        dg.DagsterInstance.from_config(str(plain_home)) as reader,
    ):
        run = dg.materialize([counted], instance=writer)
        heard = threading.Event()
        said: list[str] = []

        def listen(entry: dg.EventLogEntry, _cursor: str) -> None:
            said.append(entry.message)
            if entry.message == "still here":
                heard.set()

        reader.watch_event_logs(run.run_id, None, listen)
        writer.report_engine_event("still here", run.dagster_run)
        assert heard.wait(20), said
        reader.end_watch_event_logs(run.run_id, listen)


def test_what_is_reported_outside_of_runs_stays_when_a_run_is_deleted(home, plain_home):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(counted.key))
        run_id = dg.materialize([counted], instance=instance).run_id
        reported, ran = materialised(instance)
        assert ran == run_id
        instance.delete_run(run_id)
        assert materialised(instance) == [reported]
    with dg.DagsterInstance.from_config(str(plain_home)) as instance:
        assert materialised(instance) == [reported]


def test_threads_write_side_by_side(home):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = [dg.materialize([counted], instance=instance).dagster_run for _ in range(3)]
        with ThreadPoolExecutor(6) as pool:
            for number in range(60):
                pool.submit(instance.report_engine_event, f"event {number}", runs[number % 3])
        told = [entry.message for run in runs for entry in instance.all_logs(run.run_id)]
        assert {f"event {number}" for number in range(60)} <= set(told)
        assert sum(message.startswith("event ") for message in told) == 60


def test_what_a_killed_process_has_written_is_there(home, plain_home):
    with dg.DagsterInstance.from_config(str(plain_home)) as instance:
        run = dg.materialize([counted], instance=instance)
        program = (
            "import os, signal, sys, dagster as dg\n"
            "instance = dg.DagsterInstance.from_config(sys.argv[1])\n"
            "instance.report_engine_event('last words', instance.get_run_by_id(sys.argv[2]))\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, str(home), run.run_id], check=False, cwd=PROJECT_ROOT)
        assert killed.returncode == -signal.SIGKILL
        assert "last words" in [entry.message for entry in instance.all_logs(run.run_id)]


def test_the_parts_of_dagster_that_are_not_published_are_as_expected():
    """The first test to fail after an update of Dagster that changes them; see pipelines/open_sqlite.py."""
    assert difference() is None


WITHOUT = """
import sys
import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

if sys.argv[2] == "parameters":
    connect = SqliteEventLogStorage._connect
    SqliteEventLogStorage._connect = lambda self, shard, mode=None: connect(self, shard)
else:
    sys.modules["pipelines.open_sqlite"] = None

@dg.asset
def counted():
    return dg.MaterializeResult(metadata={"number": 1})

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    print(type(instance).__name__, type(instance.run_storage).__name__, type(instance.event_log_storage).__name__)
"""


@pytest.mark.parametrize("change", ["parameters", "module"])
def test_another_dagster_warns_and_keeps_its_own_storage(home, change):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(home), change],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT_ROOT,
    )
    assert done.stdout.split() == ["Instance", "SqliteRunStorage", "SqliteEventLogStorage"], done.stderr
    assert "differs from the expected one" in done.stderr
