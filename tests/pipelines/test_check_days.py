"""The outcomes of asset checks by day: a check that fails for one day is shown as failed on that partition only."""

import warnings
from datetime import date, timedelta

import dagster as dg
import pytest

from assets.check_days import MOST_DAYS, DayResult, evaluations
from pipelines.build import build_defs
from pipelines.instance import shared_instance
from pipelines.partitions import daily
from pipelines.run import run_days
from tests.conftest import Company, make_company

HELD = date(2026, 6, 30)
SCORES = dg.AssetKey("csm_health_scores")
USAGE = dg.AssetCheckKey(SCORES, "usage_delivered")
# Usage stops on 26 June, so 30 June is held: more than three days without events.
FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at\na1,Ahlers,pro,2025-01-01\n",
    "features.csv": "feature,module\nreports,core\n",
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},a1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 27)),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Company:
    base = tmp_path_factory.mktemp("check_days")
    (base / "records").mkdir()
    for name, content in FILES.items():
        (base / "records" / name).write_text(content, encoding="utf-8")
    wide = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}
    return make_company(base, base / "records", checks=wide)


@pytest.fixture
def company(small: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setenv("DAGSTER_HOME", str(small.folder / "dagster_home"))
    monkeypatch.delenv("NOTION_TOKEN", raising=False)
    return small


def states(company: Company, *checks: dg.AssetCheckKey) -> list[dict[str, set[str]]]:
    """For each check, the days in each state, as Dagster's UI and GraphQL show them."""
    with shared_instance(company.config) as instance:
        partitions = build_defs(company.config).resolve_asset_graph().get(SCORES).partitions_def
        found = instance.event_log_storage.get_asset_check_state([(check, partitions) for check in checks])
    return [
        {
            state.value: set(subset.subset_value.get_partition_keys())
            for state, subset in found[check].subsets.items()
            if not subset.is_empty
        }
        for check in checks
    ]


def days(first: date, last: date) -> set[str]:
    return {str(first + timedelta(days=number)) for number in range((last - first).days + 1)}


def test_the_checks_of_tables_that_are_built_by_day_have_the_partitions_of_their_asset(company):
    with dg.DagsterInstance.ephemeral():
        graph = build_defs(company.config).resolve_asset_graph()
    checks = [graph.get(key) for key in graph.asset_check_keys]
    by_day = {check.key.asset_key for check in checks if check.partitions_def}
    assert SCORES in by_day
    assert all(
        check.partitions_def == graph.get(check.key.asset_key).partitions_def
        for check in checks
        if check.key.asset_key in by_day
    )
    # A check of a table that holds all days is about all of its rows.
    assert by_day & {dg.AssetKey("csm_days"), dg.AssetKey("csm_day_roots"), dg.AssetKey("int_usage_daily")} == set()


def test_a_check_that_fails_for_the_last_day_of_a_range_is_failed_on_that_day_only(company):
    first = HELD - timedelta(days=2)
    outcome = run_days(company.config, (first, HELD))
    assert "usage events stopped" in outcome.held[0]
    usage, unique = states(company, USAGE, dg.AssetCheckKey(SCORES, "key_unique"))
    assert usage == {"FAILED": {str(HELD)}, "SUCCEEDED": days(first, HELD - timedelta(days=1))}
    assert unique == {"SUCCEEDED": days(first, HELD)}


@pytest.mark.slow
def test_a_long_range_reports_each_check_once_and_the_failed_day(company):
    first = HELD - timedelta(days=MOST_DAYS)
    outcome = run_days(company.config, (first, HELD))
    assert len(outcome.held) == 1
    usage, unique = states(company, USAGE, dg.AssetCheckKey(SCORES, "key_unique"))
    # No day is shown as running or failed for a result that is reported once for the range.
    assert usage == {"FAILED": {str(HELD)}}
    assert unique == {}
    with shared_instance(company.config) as instance:
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(SCORES, "key_unique")]
        )
    (record,) = latest.values()
    assert (record.partition, record.status.value, record.run_id) == (None, "SUCCEEDED", outcome.run_id)


def checked(first: str, last: str, failed: set[str]) -> list[dg.AssetsDefinition]:
    """An asset with a blocking check that fails on some days, and an asset that depends on it."""
    partitions = daily(date(2026, 6, 1))

    @dg.asset(
        key="checked",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("valid", asset="checked", blocking=True, partitions_def=partitions)],
    )
    def _checked(context: dg.AssetExecutionContext):
        yield dg.MaterializeResult()
        by_day = [
            DayResult(date.fromisoformat(day), dg.AssetCheckResult(asset_key="checked", check_name="valid", passed=ok))
            for day in sorted(days(date.fromisoformat(first), date.fromisoformat(last)))
            for ok in [day not in failed]
        ]
        of_run = dg.AssetCheckResult(asset_key="checked", check_name="valid", passed=not failed)
        yield from evaluations(context, [of_run], by_day)

    @dg.asset(key="later", deps=["checked"], partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def _later() -> None: ...

    return [_checked, _later]


@pytest.mark.parametrize(
    ("first", "last", "failed"),
    [
        ("2026-06-02", "2026-06-05", {"2026-06-03"}),
        ("2026-06-02", "2026-06-02", {"2026-06-02"}),
        ("2026-06-01", "2026-06-05", set()),
        # An evaluation of a day before the run, which its late records changed, and of a day without a partition.
        ("2026-05-31", "2026-06-04", {"2026-05-31", "2026-06-01"}),
    ],
)
def test_failed_days_fail_the_step_and_a_later_run_clears_them(company, first, last, failed):
    own = max(first, "2026-06-02")
    span = {"dagster/asset_partition_range_start": own, "dagster/asset_partition_range_end": last}
    one_day = {"dagster/partition": own} if own == last else span
    key, partitions = dg.AssetCheckKey(dg.AssetKey("checked"), "valid"), daily(date(2026, 6, 1))

    def state(instance: dg.DagsterInstance) -> dict[str, set[str]]:
        found = instance.event_log_storage.get_asset_check_state([(key, partitions)])[key]
        return {
            name.value: set(subset.subset_value.get_partition_keys())
            for name, subset in found.subsets.items()
            if not subset.is_empty
        }

    with dg.DagsterInstance.ephemeral() as instance, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = dg.materialize(checked(first, last, failed), instance=instance, tags=one_day, raise_on_error=False)
        assert result.success == (not failed)
        assert bool(result.asset_materializations_for_node("later")) == (not failed)
        every = days(date.fromisoformat(first), date.fromisoformat(last)) - {"2026-05-31"}
        expected = {"FAILED": every & failed, "SUCCEEDED": every - failed}
        assert state(instance) == {name: some for name, some in expected.items() if some}
        dg.materialize(checked(first, last, set()), instance=instance, tags=one_day)
        assert state(instance) == {"SUCCEEDED": every}
