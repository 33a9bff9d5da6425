"""Policies by tenant, segment and date in the warehouse: which thresholds a row was scored with, and its hash."""

from datetime import UTC, date, datetime

import pytest

from csm_core.config import Config, Policy
from csm_core.errors import SignalError
from csm_core.scoring.score_days import other_configurations, score_days
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.models import load_models
from tests.scoring_cases import MIDDLE, expected, frame_of

DAYS = (date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 2))
SPAN = (DAYS[0], DAYS[-1])
ACCOUNTS = {  # account → tenant, segment
    "A0": ("north", "enterprise"),
    "A1": ("north", "smb"),
    "A2": ("south", "enterprise"),
    "A3": ("south", None),
}
BEFORE = Config(
    policies=(
        Policy(tenant="north", segment="enterprise", green_threshold=75),
        Policy(segment="enterprise", churn_window_days=90),
    )
)
AFTER = BEFORE.model_copy(
    update={
        "policies": (
            *BEFORE.policies,
            Policy(tenant="north", segment="enterprise", green_threshold=80, amber_threshold=50, **{"from": DAYS[1]}),
            Policy(tenant="south", green_threshold=60, **{"from": DAYS[2]}),
        )
    }
)
DEFAULT = (70.0, 40.0, 60)
NOW = datetime(2026, 7, 3, 7, tzinfo=UTC)


@pytest.fixture
def warehouse(tmp_path):
    """Signals of four accounts on three days, alike but for who they are of."""
    frame = frame_of([MIDDLE] * len(ACCOUNTS))
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        connection.register("frame", frame)
        connection.execute("create table accounts (account_id varchar, tenant_id varchar, segment varchar)")
        connection.executemany("insert into accounts values (?, ?, ?)", [[key, *of] for key, of in ACCOUNTS.items()])
        connection.execute("create table days as select unnest($days::date[]) as as_of_date", {"days": list(DAYS)})
        connection.execute(
            "create table marts.csm_health_signals as select tenant_id, frame.*, as_of_date, "
            "null::timestamp as known_from from frame inner join accounts using (account_id), days"
        )
        connection.execute("create table intermediate.int_account_days as select * from accounts, days")
        yield connection


def score(connection, config, span=SPAN):
    return score_days(DuckDbEngine(connection), load_models("marts")["csm_health_scores"], config, span, scored_at=NOW)


def thresholds(connection, account):
    found = connection.execute(
        f"select as_of_date, {', '.join(THRESHOLDS)} from marts.csm_health_scores where account_id = ?", [account]
    )
    return {day: tuple(values) for day, *values in found.fetchall()}


def rows(connection, condition="true"):
    return connection.execute(
        "select * exclude (scored_at, config_hash, known_from) from marts.csm_health_scores "
        f"where {condition} order by all"
    ).fetchall()


def test_a_change_of_thresholds_counts_from_its_day_on(warehouse):
    score(warehouse, AFTER)
    assert thresholds(warehouse, "A0") == {
        DAYS[0]: (75.0, 40.0, 60),
        DAYS[1]: (80.0, 50.0, 60),
        DAYS[2]: (80.0, 50.0, 60),
    }
    assert thresholds(warehouse, "A1") == dict.fromkeys(DAYS, DEFAULT)
    # The policy of the segment stands before that of the tenant in the file.
    assert thresholds(warehouse, "A2") == dict.fromkeys(DAYS, (70.0, 40.0, 90))
    assert thresholds(warehouse, "A3") == {DAYS[0]: DEFAULT, DAYS[1]: DEFAULT, DAYS[2]: (60.0, 40.0, 60)}


def test_a_change_of_thresholds_does_not_rewrite_the_past(warehouse):
    score(warehouse, BEFORE)
    past = rows(warehouse, f"as_of_date < '{DAYS[1]}'")
    later = rows(warehouse, f"as_of_date >= '{DAYS[1]}'")
    score(warehouse, AFTER)
    assert rows(warehouse, f"as_of_date < '{DAYS[1]}'") == past
    assert rows(warehouse, f"as_of_date >= '{DAYS[1]}'") != later


def test_every_row_is_judged_by_the_thresholds_that_it_states(warehouse):
    score(warehouse, AFTER)
    names = ["rag", "churn_risk_level", "churn_triggered_by", "should_alert"]
    found = warehouse.execute(f"select {', '.join((*names, *THRESHOLDS))} from marts.csm_health_scores").fetchall()
    assert len(found) == len(ACCOUNTS) * len(DAYS)
    for row in found:
        wanted = expected(MIDDLE, *row[len(names) :])
        assert row[: len(names)] == tuple(wanted[name] for name in names)


def test_every_row_has_the_hash_of_its_configuration_and_others_are_told(warehouse):
    assert other_configurations(warehouse, BEFORE, SPAN) == []
    score(warehouse, BEFORE)
    score(warehouse, AFTER, (DAYS[1], DAYS[1]))
    hashes = warehouse.execute("select distinct as_of_date, config_hash from marts.csm_health_scores").fetchall()
    assert dict(hashes) == {
        DAYS[0]: BEFORE.config_hash,
        DAYS[1]: AFTER.config_hash,
        DAYS[2]: BEFORE.config_hash,
    }
    assert other_configurations(warehouse, AFTER, SPAN) == [(BEFORE.config_hash, 2)]
    assert other_configurations(warehouse, BEFORE, SPAN) == [(AFTER.config_hash, 1)]
    assert other_configurations(warehouse, AFTER, (DAYS[1], DAYS[1])) == []


def test_a_row_outside_the_contract_stops_the_scoring_and_names_account_and_field(warehouse):
    score(warehouse, BEFORE)
    before = rows(warehouse)
    warehouse.execute("update marts.csm_health_signals set nps_score = 11 where account_id = 'A2'")
    with pytest.raises(SignalError, match=r"account 'A2' of tenant 'south' on 2026-06-30: nps_score is 11$"):
        score(warehouse, AFTER)
    assert rows(warehouse) == before
