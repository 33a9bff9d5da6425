"""Whole runs on a server leave what runs with DuckDB leave: bundled companies, corrections, a backfill, and kills."""

import pytest

from tests.spark.scenarios import SCENARIOS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_a_scenario_leaves_what_duckdb_leaves(scenarios, name):
    assert scenarios[name].result() == []
