"""Makes the warehouses of tests quickly: copies of an empty one, that DuckDB reads and writes with one thread.

Creating the tables of a warehouse takes longer than most tests, and two threads for a few rows take longer than one.
The tests of ``ORDINARY`` have warehouses as users have them, and so have all processes that tests start.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import PROJECT_ROOT
from csm_core.system.file_access import give_group
from csm_core.warehouse import restore_swap
from csm_core.warehouse.database import Warehouse

ORDINARY = {"crash", "system", "warehouse"}
"""The folders of tests about the file itself: its creation, its migrations, who may read it."""

_open, _init = Warehouse._open, Warehouse.__init__
_is_quick = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the fixtures of a test."""
    global _is_quick
    _is_quick = item.path.relative_to(PROJECT_ROOT / "tests").parts[0] not in ORDINARY


@pytest.fixture(scope="session", autouse=True)
def _quick_warehouses() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        empty = Path(folder) / "empty.duckdb"
        with Warehouse(empty).connect():
            assert empty.exists()

        def opened(self: Warehouse) -> duckdb.DuckDBPyConnection:
            if _is_quick and not self.path.exists() and not restore_swap.in_progress(self.path.parent):
                self._make_folder()
                shutil.copyfile(empty, self.path)
                give_group(self.path)
            return _open(self)

        def made(self: Warehouse, path: Path, *, threads: int | None = None, **others: Any) -> None:
            _init(self, path, threads=threads or (1 if _is_quick else None), **others)

        patch.setattr(Warehouse, "_open", opened)
        patch.setattr(Warehouse, "__init__", made)
        yield
