"""The demo: scores both bundled companies in a separate folder and publishes them to the sandbox."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from csm_core.config import ENVIRONMENT_PREFIX, PROJECT_ROOT, Config, load_config
from csm_core.errors import InputError, RunError
from csm_core.system.project_files import PROJECT_FILES

DEFAULT_FOLDER = PROJECT_ROOT / "data" / "demo"
MARKER = ".csm-demo"


@dataclass(frozen=True)
class Company:
    """A bundled company: the ranges of days that the demo runs, each with a description, and a note on the data."""

    name: str
    title: str
    runs: tuple[tuple[date, date, str], ...]
    note: str = ""

    @property
    def first_day(self) -> date:
        """The first scored day."""
        return self.runs[0][0]

    @property
    def last_day(self) -> date:
        """The last scored day."""
        return self.runs[-1][1]


COMPANIES = (
    Company(
        "acme",
        "Acme, a made-up company",
        (
            (date(2026, 7, 3), date(2026, 9, 29), "a backfill of 89 days in one run"),
            (date(2026, 9, 30), date(2026, 9, 30), "the daily run of the next day"),
        ),
    ),
    Company(
        "ravenstack",
        "RavenStack, a public data set",
        ((date(2024, 12, 31), date(2024, 12, 31), "its last complete day"),),
        "Nearly all accounts are AMBER because the data has no logins, contacts, payments, used seats or NPS: at\n"
        "  least six signals are unknown and get fixed points, and the accounts use few of the 40 features\n"
        "  within four weeks. `csm explain` shows this for an account.",
    ),
)


def run_demo(execute: Callable[..., int], folder: Path | None) -> None:
    """Run every bundled company and print the next commands. Raises RunError if a run failed.

    ``execute`` runs the first company, which takes longest; the others run meanwhile in processes of their own.
    """
    started = time.monotonic()
    target = (folder or DEFAULT_FOLDER).resolve()
    _fresh(target)
    first, *others = COMPANIES
    config = demo_config(first.name, target, first.first_day)
    with ExitStack() as stack:
        processes = [stack.enter_context(_in_background(company, target)) for company in others]
        _introduce(first)
        for start, end, shown in first.runs:
            print_line(f"  {_span(start, end)}: {shown}")
            _require_success(execute(config, (start, end), brief=True), first)
        _conclude(first)
        for company, process in zip(others, processes, strict=True):
            _introduce(company)
            for start, end, shown in company.runs:
                print_line(f"  {_span(start, end)}: {shown}")
            output, errors = process.communicate()
            sys.stdout.write(output)
            sys.stderr.write(errors if process.returncode else "")
            _require_success(process.returncode, company)
            _conclude(company)
    print_line(f"\nBoth companies were scored and published in {time.monotonic() - started:.0f} s. Next steps:\n")
    for arguments, shown in _next_commands(target, is_default=folder is None):
        print_line(f"  # {shown}\n  {_program()} {arguments}")


@contextmanager
def _in_background(company: Company, folder: Path) -> Generator[subprocess.Popen[str]]:
    """Run all days of a company in another process, which is stopped at the end of the block."""
    demo_config(company.name, folder, company.first_day)
    days = ["--from", f"{company.first_day}", "--to", f"{company.last_day}"]
    config = folder / company.name / "csm.yaml"
    # The demo has its own settings, whatever the user's variables say.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "pipelines.main", "run", "--config", str(config), *days, "--brief"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def _introduce(company: Company) -> None:
    print_line(f"\n{company.title}")


def _conclude(company: Company) -> None:
    if company.note:
        print_line(f"  {company.note}")


def _span(start: date, end: date) -> str:
    return f"{start}" if start == end else f"{start} to {end}"


def _require_success(status: int, company: Company) -> None:
    if status:
        message = f"the demo run of {company.name} failed"
        raise RunError(message)


def demo_file() -> Path | None:
    """The configuration of the demo's first company, if the default folder contains a demo."""
    file = DEFAULT_FOLDER / COMPANIES[0].name / "csm.yaml"
    return file if file.is_file() else None


def demo_config(name: str, folder: Path, first_day: date) -> Config:
    """Write ``<folder>/<name>/csm.yaml`` for a bundled company and read it."""
    import yaml

    bundled = PROJECT_FILES / "examples" / name
    settings = yaml.safe_load((bundled / "csm.yaml").read_text(encoding="utf-8"))
    settings["warehouse"] = "csm.duckdb"
    # The demo's first day, so that the reviews before renewals are due within the demo.
    settings["partitions_start"] = first_day
    for source in settings["sources"]:
        source["path"] = str((bundled / source.get("path", ".")).resolve())
    target = folder / name / "csm.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return load_config(target, {})


def _next_commands(folder: Path, *, is_default: bool) -> list[tuple[str, str]]:
    """Commands to run after the demo, as arguments of csm, each with a description."""
    acme, raven = (f"--config {_short(folder / company.name / 'csm.yaml')}" for company in COMPANIES)
    opened = "open" if is_default else f"open {acme}"
    return [
        (opened, "the Dagster UI and the Notion pages, until Ctrl-C"),
        (f"explain A0026 --since 2026-07-31 {acme}", "why a score moved"),
        (
            f'sql "select account_name, rag, score, renewal_date from csm_overview order by score limit 20" {acme}',
            "the accounts with the lowest scores",
        ),
        (f"alerts outbox {acme}", "the digests of alerts for the owners of accounts"),
        (f"open {raven}", "the UI and the pages of RavenStack"),
        (f"explain A-0158bb {raven}", "why an account of RavenStack is AMBER"),
        ("--help", "the other commands"),
    ]


def _program() -> str:
    """The command that runs csm from this folder."""
    called = Path(sys.argv[0])
    if called.suffix == ".py":
        return f"{shlex.quote(sys.executable)} -m pipelines.main"
    installed = shutil.which(called.name)
    return called.name if installed and Path(installed).resolve() == called.resolve() else _short(called)


def _short(path: Path) -> str:
    """The shortest form of a path, quoted for a shell."""
    full = path.absolute()
    return shlex.quote(str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full))


def print_line(text: str) -> None:
    """Print a line to standard output without buffering, to keep the order with the progress output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _fresh(folder: Path) -> None:
    # Only a folder that an earlier demo created is removed: --folder may name any folder.
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            message = f"{folder} is not empty and was not created by `csm demo`: choose another folder with --folder"
            raise InputError(message)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Created by `csm demo`, which replaces this folder.\n", encoding="utf-8")
