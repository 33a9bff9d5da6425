"""Shared by all tests: companies in fresh folders, the real command line, tables read back for comparison."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import Phase, settings

from csm_core.config import PROJECT_ROOT, Config, load_config

# What tests of several folders share.
pytest_plugins = ["tests.postgres_server", "tests.quick_warehouses", "tests.source_loads"]

# How long an example takes says something of the machine, nothing of the rules.
settings.register_profile("untimed", deadline=None)
# A mutation run asks only whether a test fails, of thousands of mutants: the same examples each time, and no shrinking.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("untimed")

# These say when or where something was done, and differ between runs that did the same.
VOLATILE = {"scored_at", "changed_at", "known_from", "known_to", "root", "previous_root"}


@dataclass(frozen=True)
class Company:
    """A configuration in a folder of its own, and the ``csm`` command on it."""

    folder: Path
    config_file: Path

    @property
    def config(self) -> Config:
        return load_config(self.config_file, {})

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "NOTION_", "DAGSTER_"))
        }
        return {**kept, "CSM_CONFIG": str(self.config_file), "DAGSTER_HOME": str(self.folder / "dagster_home")}

    def csm(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run ``csm`` in a process of its own."""
        return subprocess.run(
            [*CSM, *arguments],
            capture_output=True,
            text=True,
            env={**self.environment, **more.pop("environment", {})},
            cwd=self.folder,
            timeout=600,
            check=False,
            **more,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``csm`` and go on."""
        return subprocess.Popen(
            [*CSM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with duckdb.connect(str(self.config.warehouse), read_only=True) as connection:
            return connection.execute(sql).fetchall()


_LONGEST = {name: place for place, name in enumerate(("crash", "pipelines", "publishing", "operations", "sources"))}
_SHOWN: pytest.StashKey[list[str]] = pytest.StashKey()
CSM = [sys.executable, "-m", "pipelines.main"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` writes the golden files again; look at the difference before it is committed."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files again")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders with the longest tests first, so that no process is left with whole runs at the end."""
    items.sort(key=lambda item: _LONGEST.get(item.path.relative_to(PROJECT_ROOT / "tests").parts[0], len(_LONGEST)))


@pytest.fixture(scope="session")
def shown_at_the_end(request: pytest.FixtureRequest) -> list[str]:
    """Texts that are put in here are shown after all tests, without ``-s``."""
    return request.config.stash.setdefault(_SHOWN, [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes run the tests, hand over what is to be shown."""
    handed: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if handed is not None:
        handed["shown"] = session.config.stash.get(_SHOWN, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what one of them has to show."""
    node.config.stash.setdefault(_SHOWN, []).extend(getattr(node, "workeroutput", {}).get("shown", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the figures that tests put aside for the end."""
    for text in config.stash.get(_SHOWN, []):
        terminalreporter.write_line(text)


def make_company(parent: Path, records: str | Path, *, system: str = "files", **settings: Any) -> Company:
    """A company from a bundled example ("acme") or a folder of records, in a fresh folder below ``parent``."""
    bundled = PROJECT_ROOT / "examples" / records if isinstance(records, str) else None
    stated: dict[str, Any] = {"partitions_start": "2026-01-01"}
    if bundled:
        stated = yaml.safe_load((bundled / "csm.yaml").read_text(encoding="utf-8"))
        system = stated["sources"][0]["system"]
    stated |= {
        "warehouse": "data/csm.duckdb",
        "sources": [{"system": system, "path": str(bundled or records)}],
        **settings,
    }
    # Drawing a report takes longer than a small run, so only the tests of reports write them.
    stated.setdefault("reports", {"keep": 0})
    folder = parent / f"company_{len(list(parent.glob('company_*')))}"
    folder.mkdir()
    (folder / "csm.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    return Company(folder, folder / "csm.yaml")


def moved(prepared: Path, folder: Path) -> Path:
    """Copy a folder with companies and their records; the copies read the copied records."""
    shutil.copytree(prepared, folder)
    for file in folder.glob("company_*/csm.yaml"):
        file.write_text(file.read_text(encoding="utf-8").replace(str(prepared), str(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def company(tmp_path: Path) -> Callable[..., Company]:
    """Makes companies: ``company("acme")`` or ``company(folder, system="files")``."""

    def make(records: str | Path, **settings: Any) -> Company:
        return make_company(tmp_path, records, **settings)

    return make


_HISTORY = ("csm_health_superseded", "csm_day_roots", "csm_rejected_records")


def tables(
    path: Path,
    schemas: tuple[str, ...] = ("staging", "intermediate", "marts"),
    without: Collection[str] = VOLATILE,
    *,
    history: bool = False,
) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of the schemas as sorted rows, without the columns that say when.

    Without ``history``, also without superseded rows, roots and counts of rejected records: they differ between runs
    that lead to the same rows.
    """
    found: dict[str, list[tuple[Any, ...]]] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        for schema, name in connection.execute(
            "select schema_name, table_name from duckdb_tables() order by all"
        ).fetchall():
            if schema in schemas and (history or name not in _HISTORY):
                columns = [
                    column
                    for (column,) in connection.execute(
                        "select column_name from duckdb_columns() where schema_name = ? and table_name = ? "
                        "order by column_index",
                        [schema, name],
                    ).fetchall()
                    if column not in without and not column.startswith("_")
                ]
                quoted = ", ".join(f'"{column}"' for column in columns)
                found[f"{schema}.{name}"] = connection.execute(
                    f"select {quoted} from {schema}.{name} order by all"
                ).fetchall()
    return found
