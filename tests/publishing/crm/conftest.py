"""A warehouse, and a server for each vendor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from csm_core.warehouse.migrations import upgrade
from tests.publishing.crm.destination import VENDORS, vendor_server
from tests.publishing.crm.vendors import CrmServer


@pytest.fixture(scope="session")
def new_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse without accounts: copying it is quicker than creating one for each test."""
    path = tmp_path_factory.mktemp("crm") / "csm.duckdb"
    with duckdb.connect(str(path)) as connection:
        upgrade(connection)
    return path


@pytest.fixture
def warehouse(new_warehouse: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    shutil.copy(new_warehouse, tmp_path / "csm.duckdb")
    with duckdb.connect(str(tmp_path / "csm.duckdb")) as connection:
        yield connection


@pytest.fixture(params=VENDORS)
def server(request: pytest.FixtureRequest) -> Iterator[CrmServer]:
    with vendor_server(request.param) as found:
        yield found
