"""Rules that hold for every source: one reading of times, text that does not parse is rejected, nothing gets lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from csm_core.logging import configure
from csm_core.sources.registry import record_kinds, system_names
from csm_core.warehouse.models import SQL_ROOT
from tests.mutations import contract_records, vendor_records

STAGING = sorted((SQL_ROOT / "staging").glob("*/*.sql"))
# Reading text in another way than by the macros drops offsets, or takes what does not parse for "not given".
OTHER_READINGS = re.compile(
    r"try_cast\(|make_timestamp|strptime|as timestamp\b|as timestamptz|at time zone|= 'true'|<> 'true'|= 'false'",
    re.IGNORECASE,
)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


@pytest.mark.parametrize("path", STAGING, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_staging_reads_text_by_the_macros_only(path: Path) -> None:
    code = re.sub(r"--.*|null as timestamp", "", path.read_text(encoding="utf-8"))
    assert OTHER_READINGS.findall(code) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated_records_in_the_contracts_columns_are_what_the_rules_say(tmp_path: Path, seed: int) -> None:
    configure(level="ERROR")
    result = contract_records.mutate(tmp_path, 900, seed)
    assert result.differences == []
    assert result.written == result.counted == sum(result.outcomes.values())
    assert min(result.outcomes[name] for name in ("loaded", "rejected")) > 100


@pytest.mark.parametrize("system", [name for name in system_names() if record_kinds(name)])
def test_mutated_records_of_a_vendor_are_rejected_with_field_and_text(
    connection: duckdb.DuckDBPyConnection, system: str
) -> None:
    mutated, differences = vendor_records.mutate(connection, system, 300, seed=1)
    assert differences == []
    assert mutated
