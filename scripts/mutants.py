"""Mutation run over the scorer, the gate and the ledger: changes the code in one place at a time and runs its tests.

A mutant that no test notices survives, and is printed with its change; ``docs/testing.md`` lists the accepted ones.
Cosmic Ray makes the mutants, in copies of the tracked files below ``build/mutants``, never in the checkout.

    .venv/bin/python scripts/mutants.py                            everything, which takes hours
    .venv/bin/python scripts/mutants.py scorer                     one group
    .venv/bin/python scripts/mutants.py gate ledger --sample 100   at most 100 mutants of each group
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "mutants"
SCALAR_TESTS = ("tests/test_health_scorer.py", "tests/test_rubric.py")
SQL_TESTS = ("tests/scoring/test_sql.py", "tests/test_vectorized_scorer.py", "tests/scoring/test_macros.py")
QUARANTINE_TESTS = ("tests/staging/test_quarantine.py",)
VERSION_TESTS = ("tests/staging/test_versions_and_ignored.py",)
GATED_RECORD_TESTS = ("tests/staging/test_vendor_records.py",)
GATE_TESTS = ("tests/staging/test_gate.py", *VERSION_TESTS, *QUARANTINE_TESTS, *GATED_RECORD_TESTS)
RECORD_TESTS = (*GATED_RECORD_TESTS, "tests/ingest/test_records_without_key.py", "tests/sources/test_stripe_records.py")
# The gate's modules that tests of their own cover; the others run with all of GATE_TESTS.
GATE_TESTS_OF = {
    "ignored_versions": VERSION_TESTS,
    "merge": (*GATE_TESTS, "tests/ingest/test_full_lists.py"),
    "quarantine": QUARANTINE_TESTS,
    "quarantine_report": QUARANTINE_TESTS,
    "record_counts": RECORD_TESTS,
    "vendor_records": (*VERSION_TESTS, *RECORD_TESTS),
}
LEDGER_TESTS = tuple(f"tests/publishing/notion/test_{name}.py" for name in ("ledger", "plan_apply", "publishing"))
GROUPS: dict[str, dict[str, Sequence[str]]] = {
    "scorer": {
        "csm_core/health_scorer.py": SCALAR_TESTS,
        "csm_core/rubric.py": SCALAR_TESTS,
        "csm_core/thresholds.py": (*SCALAR_TESTS, "tests/test_config.py"),
        "csm_core/scoring/sql.py": SQL_TESTS,
    },
    "gate": {
        path.relative_to(ROOT).as_posix(): GATE_TESTS_OF.get(path.stem, GATE_TESTS)
        for path in sorted((ROOT / "csm_core" / "staging").glob("*.py"))
        if path.name != "__init__.py"
    },
    "ledger": {"csm_core/publishing/notion/ledger.py": LEDGER_TESTS},
}
# "A | B" is a type in this code, nearly always in an annotation, which is never evaluated. Identity instead of equality
# makes no difference for None and for the constants that are compared here.
EXCLUDED = re.compile(
    r"core/(ReplaceBinaryOperator_BitOr_\w+|VariableInserter|VariableReplacer"
    r"|ReplaceComparisonOperator_(Eq_Is|NotEq_IsNot|Is_Eq|IsNot_NotEq))$"
)
TIMEOUT_SECONDS = 300
SEED = 19


@dataclass(frozen=True)
class Job:
    """The mutants of one module, in a session of Cosmic Ray."""

    group: str
    module: str
    tests: Sequence[str]
    session: Path
    config: Path


def main(arguments: Sequence[str]) -> int:
    """Run the groups and print the survivors of each module."""
    parser = argparse.ArgumentParser(description="Mutation run over the scorer, the gate and the ledger.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all of them if none")
    parser.add_argument("--sample", type=int, default=0, help="at most this many mutants of each group")
    parser.add_argument("--folder", type=Path, default=BUILD, help="of the copies and the results; replaced")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="copies that run at the same time")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; the groups are {', '.join(GROUPS)}")
    started = time.monotonic()
    build = options.folder.resolve()
    shutil.rmtree(build, ignore_errors=True)
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(options.workers):
        trees.put(_copy(build / f"tree_{number}"))
    jobs = [job for group in options.groups or GROUPS for job in _jobs(group, build)]
    for group in {job.group for job in jobs}:
        _select([job for job in jobs if job.group == group], options.sample)
    for tests in sorted({tuple(job.tests) for job in jobs}):
        _require_passing(build / "tree_0", tests)

    def run(job: Job) -> None:
        tree = trees.get()
        try:
            _cosmic_ray("exec", job.config, job.session, tree)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(options.workers) as pool:
        for job, _ in zip(jobs, pool.map(run, jobs), strict=True):
            _report(job)
    print(f"{time.monotonic() - started:,.0f} s")
    return 0


def _copy(tree: Path) -> Path:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    # Cosmic Ray's test processes write no compiled files, and find a changed module by its time.
    compileall.compile_dir(str(tree), quiet=2)
    return tree


def _jobs(group: str, build: Path) -> Iterator[Job]:
    for module, tests in GROUPS[group].items():
        name = module.removesuffix(".py").replace("/", ".")
        job = Job(group, module, tests, build / f"{name}.sqlite", build / f"{name}.toml")
        job.config.write_text(
            f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = {TIMEOUT_SECONDS}.0\nexcluded-modules = []\n'
            f'test-command = "{" ".join(_test_command(tests))}"\n[cosmic-ray.distributor]\nname = "local"\n',
            encoding="utf-8",
        )
        _cosmic_ray("init", job.config, job.session, build / "tree_0")
        yield job


def _test_command(tests: Sequence[str]) -> list[str]:
    quick = [
        "-x",
        "-q",
        "--no-header",
        "--tb=no",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "--hypothesis-profile=mutants",
    ]
    return [sys.executable, "-m", "pytest", *quick, "-m", "'not slow and not ui'", *tests]


def _cosmic_ray(command: str, config: Path, session: Path, tree: Path) -> None:
    program = str(Path(sys.executable).with_name("cosmic-ray"))
    subprocess.run([program, command, str(config), str(session)], cwd=tree, env=_environment(tree), check=True)


def _environment(tree: Path) -> dict[str, str]:
    # The installed project is the checkout; the copy has to come first, in processes that tests start as well.
    return {**os.environ, "PYTHONPATH": str(tree), "TEST_ALL_EXAMPLES": "1"}


def _select(jobs: Sequence[Job], sample: int) -> None:
    """Leave out what is excluded and, of a group with more mutants than the sample, those that are not drawn."""
    found: list[tuple[Job, WorkItem]] = []
    for job in jobs:
        with use_db(str(job.session), WorkDB.Mode.open) as db:
            found += [(job, item) for item in db.pending_work_items]
    kept = [(job, item) for job, item in found if not EXCLUDED.match(item.mutations[0].operator_name)]
    if 0 < sample < len(kept):
        kept.sort(key=lambda pair: _place(pair[1]))
        kept = random.Random(SEED).sample(kept, sample)
    wanted = {item.job_id for _, item in kept}
    for job in jobs:
        with use_db(str(job.session), WorkDB.Mode.open) as db:
            for item in list(db.pending_work_items):
                if item.job_id not in wanted:
                    db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def _place(item: WorkItem) -> tuple[str, str, int]:
    mutation = item.mutations[0]
    return str(mutation.module_path), mutation.operator_name, mutation.occurrence


def _require_passing(tree: Path, tests: Sequence[str]) -> None:
    command = [part.strip("'") for part in _test_command(tests)]
    done = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutants: the tests fail without any mutant: {' '.join(tests)}\n{done.stdout[-2000:]}")


def _report(job: Job) -> None:
    killed, survivors = 0, []
    with use_db(str(job.session), WorkDB.Mode.open) as db:
        mutations = {item.job_id: item.mutations[0] for item in db.work_items}
        for job_id, result in db.results:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            if result.test_outcome == TestOutcome.SURVIVED:
                survivors.append((mutations[job_id], result.diff or ""))
            else:
                killed += 1
    print(f"{job.group}  {job.module}: {killed + len(survivors)} mutants, {len(survivors)} survive", flush=True)
    for mutation, diff in sorted(survivors, key=lambda pair: pair[0].start_pos):
        changed = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
        print(f"    line {mutation.start_pos[0]}, {mutation.operator_name.removeprefix('core/')}")
        print("".join(f"        {line}\n" for line in changed), end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
