"""Kills of runs, and what they must not leave: a difference from the undisturbed run, or anything of their own.

Each kill takes a fresh copy of a scenario's start, lets ``csm run`` use up a random share of the processor time that
the undisturbed run takes, and kills it (-9): the process alone or its whole group, by turns. Then the same command runs
to its end, and everything is compared: every table but the columns that say when, the pages in the sandbox, the copy
for analysts, the files that are there, and what Dagster holds for still going on.
"""

import random
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from csm_core.sample_company.generator import generate
from tests.conftest import Company, make_company, tables
from tests.crash.runs import processes_of, run_killed, run_whole
from tests.publishing.notion.publication import RECEIPTS, held

SCHEMAS = ("raw", "staging", "quarantine", "intermediate", "marts", "run")
# When something was done, and by which run: it differs between runs that did the same.
WHEN = frozenset(
    {
        "applied_at",
        "scored_at",
        "loaded_at",
        "staged_at",
        "rejected_at",
        "first_rejected_on",
        "last_rejected_on",
        "changed_at",
        "run_id",
        "known_from",
        "known_to",
        "first_used_at",
        # They say when the values of a receipt were first known.
        "leaf",
        "root",
        "previous_root",
    }
)
START_UP, SUMMARY = "start-up", "summary"
# What a step of the graph belongs to, by the beginning of its name; the first that fits.
PHASES = {
    "load_": "loading",
    "stg_": "staging",
    "int_": "intermediate",
    "csm_health_scores_": "checks",
    "csm_analytics": "copy",
    "csm_": "marts",
    "notion_": "publishing",
}
DAY, DAY_BEFORE, FIRST_OF_RANGE = "2026-09-30", "2026-09-29", "2026-09-28"
CORRECTED = "corrected file"
# A first day, a range of days, and a day with files that were corrected since the day before it was run.
COMMANDS = {
    "day": ("run", "--as-of", DAY),
    "range": ("run", "--from", FIRST_OF_RANGE, "--to", DAY),
    CORRECTED: ("run", "--as-of", DAY),
}
# So many kills of a run in an interpreter of its own, start-up included; the others fork one that has all imported.
FRESH_EVERY = 5


@dataclass(frozen=True)
class Scenario:
    """What a run starts from, its command, and what the undisturbed one leaves behind and takes."""

    name: str
    start: Company
    arguments: tuple[str, ...]
    wanted: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    runs_before: int = 0


@dataclass
class Struck:
    """What came of the kills: how often which phase of which scenario was struck, and what was wrong afterwards."""

    phases: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    seed: int = 0

    @property
    def kills(self) -> int:
        """How many runs were killed."""
        return self.phases.total()

    def text(self) -> str:
        """The figures for a person."""
        names = sorted({name for name, _ in self.phases})
        order = [START_UP, *dict.fromkeys(PHASES.values()), SUMMARY]
        lines = [f"{'killed in':<14}" + "".join(f"{name:>16}" for name in names)]
        lines += [
            f"{phase:<14}" + "".join(f"{self.phases[name, phase]:>16}" for name in names)
            for phase in order
            if any(self.phases[name, phase] for name in names)
        ]
        lines.append(
            f"{self.kills} runs killed with -9 and run again (seed {self.seed}): {len(self.differences)} differences "
            f"from undisturbed runs, {len(self.leftovers)} leftovers"
        )
        return "\n".join([*lines, *self.differences, *self.leftovers])


# -- what a run leaves behind


def left_behind(company: Company) -> dict[str, Any]:
    """Everything that has to be the same whether or not a run was killed before."""
    data = company.config.warehouse.parent
    found: dict[str, Any] = dict(tables(company.config.warehouse, SCHEMAS, without=WHEN, history=True))
    # The checksum of the published file, which differs each time.
    del found["run.published_copy"]
    # The time of each load, also of one whose run was killed later.
    del found["run.source_loads"]
    found |= {
        f"published {name}": rows
        for name, rows in tables(
            data / "published" / "csm_analytics.duckdb", ("marts",), without=WHEN, history=True
        ).items()
    }
    found |= {f"pages {title}": pages for title, pages in held(data / "notion_sandbox.sqlite", RECEIPTS).items()}
    found["ledger of pages"] = company.query("select kind, key from sync.notion_pages order by all")
    return found


def leftovers(company: Company, group: int | None = None) -> list[str]:
    """What has no business being there once a run has ended: files, intentions in a journal, runs never ended.

    And processes of the ``group`` that a killed run led.
    """
    home = company.folder / "dagster_home"
    known = {
        "csm.yaml",
        "output",
        "data/csm.duckdb",
        "data/notion_sandbox.sqlite",
        "data/published/csm_analytics.duckdb",
    }
    found = [
        str(path.relative_to(company.folder))
        for path in sorted(company.folder.rglob("*"))
        if (path.is_file() and home not in path.parents and str(path.relative_to(company.folder)) not in known)
        or path.name.endswith((".tmp", ".new", ".wal", "-journal", "-wal", "-shm", ".lock"))
    ]
    (intended,) = company.query("select count(*) from sync.notion_journal where done_at is null")[0]
    if intended:
        found.append(f"{intended} intentions in the journal")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found += [f"Dagster's run is still {run.status.value}" for run in instance.get_runs() if not run.is_finished]
    return found + (processes_of(group) if group else [])


def phase_of(company: Company, runs_before: int) -> str:
    """What the latest run was doing when it was killed, by Dagster's record of it."""
    home = company.folder / "dagster_home"
    if not (home / "dagster.yaml").is_file():
        return START_UP
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs()
        if len(runs) == runs_before:
            return START_UP
        if runs[0].is_finished:
            return SUMMARY
        steps = [
            entry.dagster_event.step_key or ""
            for entry in instance.all_logs(runs[0].run_id, of_type=dg.DagsterEventType.STEP_START)
            if entry.dagster_event
        ]
    if not steps:
        return START_UP
    return next((phase for beginning, phase in PHASES.items() if steps[-1].startswith(beginning)), "staging")


# -- scenarios


def scenarios(folder: Path, names: Collection[str]) -> list[Scenario]:
    """The named ones of ``COMMANDS``; undisturbed, each once."""
    made: list[Scenario] = []
    for name in names:
        arguments = COMMANDS[name]
        records = folder / f"{name} records"
        generate(records, accounts=12, days=60, format="mixed")
        (folder / name).mkdir()
        start = make_company(folder / name, records)
        if name == CORRECTED:
            run_whole(start, ["run", "--as-of", DAY_BEFORE])
            _correct(records)
        undisturbed = copy_of(start, folder / name / "undisturbed")
        seconds = run_whole(undisturbed, arguments)
        wrong = leftovers(undisturbed)
        if wrong:
            message = f"the undisturbed run of {name} leaves {wrong}"
            raise RuntimeError(message)
        made.append(Scenario(name, start, arguments, left_behind(undisturbed), seconds, int(name == CORRECTED)))
    return made


def _correct(records: Path) -> None:
    """Change a response's score, and take the latest usage out of a file."""
    responses = records / "nps_responses.csv"
    header, first, *others = responses.read_text(encoding="utf-8").splitlines(keepends=True)
    cells = first.split(",")
    cells[3] = "0" if cells[3] != "0" else "10"
    responses.write_text("".join([header, ",".join(cells), *others]), encoding="utf-8")
    month = records / "usage_events" / "2026-09.parquet"
    with duckdb.connect() as connection:
        connection.execute("create table events as from read_parquet(?)", [str(month)])
        connection.execute("delete from events where occurred_at >= timestamptz '2026-09-29 12:00:00+00'")
        month.unlink()
        connection.execute(f"copy events to '{month}' (format parquet)")


def copy_of(company: Company, folder: Path) -> Company:
    """The company in another folder; its records stay where they are."""
    shutil.copytree(company.folder, folder)
    return Company(folder, folder / company.config_file.name)


# -- kills


def strike(folder: Path, times: int, *, seed: int, jobs: int = 2, names: Collection[str] = tuple(COMMANDS)) -> Struck:
    """Kill so many runs, evenly over the scenarios and over their length, and compare what comes of each."""
    draw = random.Random(seed)
    found = scenarios(folder, names)
    start_up = _start_up_seconds(found[0], folder) if times >= FRESH_EVERY else 0.0
    struck, lock = Struck(seed=seed), threading.Lock()
    plans = [
        (found[number % len(found)], (number + draw.random()) / times, number % FRESH_EVERY == 4, number % 2 == 0)
        for number in range(times)
    ]
    draw.shuffle(plans)

    def work(number: int) -> None:
        scenario, share, fresh, group = plans[number]
        company = folder / f"kill {number}"
        while True:
            one = copy_of(scenario.start, company)
            seconds = share * (scenario.seconds + start_up * fresh)
            killed = run_killed(one, scenario.arguments, seconds, fresh=fresh, group=group)
            if killed:
                break
            # It ended a little earlier than the undisturbed one: once more, a little earlier.
            shutil.rmtree(company)
            share *= 0.97
        phase = phase_of(one, scenario.runs_before)
        run_whole(one, scenario.arguments)
        after = left_behind(one)
        said = f"{scenario.name} killed at {100 * share:.1f} % in {phase}"
        different = [
            f"{said}: {name} differs"
            for name in scenario.wanted.keys() | after.keys()
            if scenario.wanted.get(name) != after.get(name)
        ]
        left = [f"{said}: {one_left} is left" for one_left in leftovers(one, killed)]
        with lock:
            struck.phases[scenario.name, phase] += 1
            struck.differences += different
            struck.leftovers += left
            sys.stderr.write(f"{struck.kills}/{times} {said}: {different + left or 'as if undisturbed'}\n")
        shutil.rmtree(company)

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work, number) for number in range(times)]:
            done.result()
    return struck


def _start_up_seconds(scenario: Scenario, folder: Path) -> float:
    """What an interpreter of its own takes more than a forked one."""
    one = copy_of(scenario.start, folder / "fresh")
    return max(0.0, run_whole(one, scenario.arguments, fresh=True) - scenario.seconds)
