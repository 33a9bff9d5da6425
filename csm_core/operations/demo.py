"""The demonstration: both bundled companies, scored and published to the sandbox, in a folder of their own."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from csm_core.config import PROJECT_ROOT, Config, load_config
from csm_core.errors import InputError, RunError

DEFAULT_FOLDER = PROJECT_ROOT / "data" / "demo"
MARKER = ".csm-demo"
COMPANIES: tuple[tuple[str, str, tuple[date, ...]], ...] = (
    ("ravenstack", "RavenStack, a third-party data set, on its last complete day", (date(2024, 12, 31),)),
    ("acme", "Acme, a made-up company, on two consecutive days", (date(2026, 9, 29), date(2026, 9, 30))),
)


def run_demo(execute: Callable[..., int], folder: Path | None) -> None:
    """Run every bundled company through ``execute`` and say where to look. Raises RunError if a run failed."""
    from csm_core.publishing.notion.local_notion import DEFAULT_VIEW_ADDRESS

    started = time.monotonic()
    csm = _short(Path(sys.argv[0]))
    target = (folder or DEFAULT_FOLDER).resolve()
    _fresh(target)
    for name, title, days in COMPANIES:
        config = demo_config(name, target, days[0])
        for day in days:
            print_line(f"\n== {title}: {day} ==")
            status = execute(config, (day, day))
            if status:
                message = f"the demo's run of {name} for {day} failed"
                raise RunError(message)
    print_line(f"\nBoth companies are scored and published, in {time.monotonic() - started:.0f} s. Where to look next:")
    for name, _, days in COMPANIES:
        settings = _short(target / name / "csm.yaml")
        print_line(f"\n  {name} ({days[-1]})")
        print_line(f"    the pages    {csm} notion sandbox --config {settings}   and then {DEFAULT_VIEW_ADDRESS}")
        print_line(f'    the tables   {csm} sql "from csm_health_current limit 20" --config {settings}')
        print_line(f"    the UI       CSM_CONFIG={settings} make dev")
    print_line(f"\n  {csm} --help lists what else it does.")


def demo_config(name: str, folder: Path, first_day: date) -> Config:
    """Write ``<folder>/<name>/csm.yaml`` for a bundled company and read it."""
    import yaml

    bundled = PROJECT_ROOT / "examples" / name
    settings = yaml.safe_load((bundled / "csm.yaml").read_text(encoding="utf-8"))
    settings["warehouse"] = "csm.duckdb"
    # From the demo's first day on, so that it shows the reviews that are due before renewals.
    settings["partitions_start"] = first_day
    for source in settings["sources"]:
        source["path"] = str((bundled / source.get("path", ".")).resolve())
    target = folder / name / "csm.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return load_config(target, {})


def _short(path: Path) -> str:
    """A path as it is typed from here."""
    full = path.absolute()
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)


def print_line(text: str) -> None:
    """A line on standard output, at once, so that it keeps its place among the progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _fresh(folder: Path) -> None:
    # Only a folder that an earlier demo made is removed: --folder may name anything.
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            message = f"{folder} is not empty and was not made by `csm demo`: name another folder with --folder"
            raise InputError(message)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `csm demo`, which replaces this folder.\n", encoding="utf-8")
