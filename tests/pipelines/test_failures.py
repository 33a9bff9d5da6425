"""What Dagster's log and partitions show of a failed run, on the project's instance and on Dagster's own."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from csm_core.config import Config
from pipelines.failures import explain_failure
from pipelines.instance import shared_instance
from pipelines.partitions import daily

DAYS = daily(date(2026, 6, 1))
SPAN = {
    "dagster/asset_partition_range_start": "2026-06-01",
    "dagster/asset_partition_range_end": "2026-06-03",
}
KEYS = ["2026-06-01", "2026-06-02", "2026-06-03"]
SCORED = dg.AssetKey("scored")


def scored_by(check: str, *, passed: bool) -> dg.AssetsDefinition:
    @dg.asset(
        key=SCORED,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec(check, asset=SCORED, blocking=True)],
    )
    def _scored() -> dg.MaterializeResult:
        result = dg.AssetCheckResult(check_name=check, passed=passed, description="3 rows are wrong, correct them")
        return dg.MaterializeResult(check_results=[result])

    return _scored


@pytest.fixture(params=["the project's instance", "Dagster's instance"])
def instance(request, tmp_path: Path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    if request.param == "Dagster's instance":
        with dg.instance_for_test(temp_dir=str(tmp_path)) as stock:
            yield stock
    else:
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        with shared_instance(Config()) as ours:
            yield ours


def run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, tags: dict[str, str]) -> str:
    result = dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)
    # The failure sensor does this; it adds nothing to a log that has the explanation.
    for _ in range(2):
        explain_failure(instance, result.run_id)
    return result.run_id


def statuses(instance: dg.DagsterInstance) -> list[str | None]:
    found = instance.get_status_by_partition(SCORED, KEYS, DAYS) or {}
    return [status.value if status else None for status in found.values()]


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        # A check of the portfolio judges the last day of a run, a check of a model all its days.
        ("portfolio_swing", ["MATERIALIZED", "MATERIALIZED", "FAILED"]),
        ("key_unique", ["FAILED", "FAILED", "FAILED"]),
    ],
)
def test_held_partitions_count_as_failed_until_their_checks_pass(instance, check, expected):
    run_id = run(instance, scored_by(check, passed=False), SPAN)
    assert statuses(instance) == expected
    last = instance.all_logs(run_id)[-1]
    assert f"held by {check}: 3 rows are wrong, correct them" in last.message
    command = "csm run --from 2026-06-01 --to 2026-06-03"
    assert f"or `{command}`.\n" in last.message
    # A check of a model cannot be accepted.
    assert (f"`{command} --accept {check}`" in last.message) == (check == "portfolio_swing")
    assert ("\n2026-06-03 is held by portfolio_swing.\n" in last.message) == (check == "portfolio_swing")
    explanations = [entry for entry in instance.all_logs(run_id) if f"held by {check}" in entry.message]
    assert len(explanations) == 1

    run(instance, scored_by(check, passed=True), SPAN)
    assert statuses(instance) == ["MATERIALIZED"] * 3


def test_an_asset_that_fails_is_named_without_secrets(instance, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "not-for-the-log")

    @dg.asset
    def broken() -> None:
        message = f"the key {os.environ['SOME_API_KEY']} is not accepted"
        raise ValueError(message)

    last = instance.all_logs(run(instance, broken, {}))[-1]
    assert "broken: " in last.message
    assert "the key (hidden) is not accepted" in last.message
    assert "\nNext: fix the cause, then re-execute this run.\n" in last.message


def test_a_run_that_succeeds_gets_no_event(instance):
    run_id = run(instance, scored_by("key_unique", passed=True), SPAN)
    assert instance.all_logs(run_id)[-1].dagster_event_type == dg.DagsterEventType.RUN_SUCCESS
