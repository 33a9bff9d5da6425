"""Other policies on stored scores: counted against the scalar scorer, account by account, and nothing written."""

import itertools
from collections import Counter
from datetime import date
from decimal import Decimal

import duckdb
import pytest

from csm_core.analysts.whatif import what_if
from csm_core.analysts.whatif_text import report_text
from csm_core.config import Policy
from csm_core.errors import InputError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import CHURN_RISKS, FIELDS, RAGS
from csm_core.schemas import CSMHealthSignals
from csm_core.scoring.sql import scoring_sql
from tests.scoring_cases import boundary_rows, frame_of

DAYS = (date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3))
ROWS = boundary_rows()
SEGMENTS = ("smb", "enterprise", "o'hara", None)
TENANTS = ("north", "south")


def segment_of(number: int, day: date) -> str | None:
    # Accounts change their segment from day to day: the one of the day counts.
    return SEGMENTS[(number + day.day) % len(SEGMENTS)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("whatif") / "csm.duckdb"
    frame = frame_of(ROWS).assign(tenant_id=[TENANTS[number % 2] for number in range(len(ROWS))])
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema marts; create schema intermediate; create table days (as_of_date date)")
        connection.executemany("insert into days values (?)", [[day] for day in DAYS])
        connection.register("frame", frame)
        inputs = ", ".join(field.name for field in FIELDS)
        connection.execute(
            f"create table marts.csm_health_signals as select tenant_id, account_id, as_of_date, {inputs} "
            "from frame, days"
        )
        scored = scoring_sql(
            "(select *, 70.0::double as green_threshold, 40.0::double as amber_threshold, "
            "60::bigint as churn_window_days from marts.csm_health_signals)",
            green="green_threshold",
            amber="amber_threshold",
            churn_window_days="churn_window_days",
            keys=("tenant_id", "account_id", "as_of_date", "green_threshold", "amber_threshold", "churn_window_days"),
        )
        connection.execute(f"create table marts.csm_health_scores as {scored}")
        connection.execute(
            "create table intermediate.int_account_days "
            "(tenant_id varchar, account_id varchar, as_of_date date, segment varchar)"
        )
        connection.executemany(
            "insert into intermediate.int_account_days values (?, ?, ?, ?)",
            [
                [TENANTS[number % 2], f"A{number}", day, segment_of(number, day)]
                for number, day in itertools.product(range(len(ROWS)), DAYS)
            ],
        )
        connection.execute(
            "create table intermediate.int_account_subscriptions as select tenant_id, account_id, as_of_date, "
            "if(account_id like '%7', null, 10.10)::decimal(18, 2) as mrr, "
            "if(account_id like '%3', 'USD', 'EUR') as currency from marts.csm_health_signals"
        )
        # The dimension lacks some accounts, as on days that were built before it existed.
        connection.execute(
            "create table marts.csm_accounts_daily as select tenant_id, account_id, as_of_date, "
            "'Name of\n' || account_id as account_name, if(account_id like '%4', null, 'Owner <1>') as csm_owner, "
            "if(account_id like '%7', null, 1234.50)::decimal(38, 2) as mrr, "
            "if(account_id like '%3', 'USD', 'EUR') as currency from marts.csm_health_signals "
            "where account_id not like '%9'"
        )
        connection.execute(
            "create table marts.csm_health_last as select tenant_id, account_id, 'smb' as segment "
            "from marts.csm_health_signals where as_of_date = date '2026-01-03'"
        )
    return path


@pytest.fixture
def warehouse(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def applying(policies: list[Policy], tenant: str, segment: str | None, day: date) -> Policy:
    """The policy that counts, by the words of the rule: the first entry, and of its dated siblings the latest begun."""
    for policy in policies:
        if policy.tenant in (None, tenant) and policy.segment in (None, segment):
            dated = [
                other
                for other in policies
                if (other.tenant, other.segment) == (policy.tenant, policy.segment)
                and (other.from_date is None or other.from_date <= day)
            ]
            if dated:
                return max(dated, key=lambda other: other.from_date or date.min)
    return Policy()


POLICIES = [
    [],
    [Policy(green_threshold=75, amber_threshold=50)],
    [Policy(churn_window_days=200)],
    [Policy(churn_window_days=0, green_threshold=40, amber_threshold=10)],
    [
        Policy(tenant="north", segment="enterprise", green_threshold=90, amber_threshold=60),
        Policy(tenant="north", segment="enterprise", green_threshold=95, **{"from": date(2026, 1, 2)}),
        Policy(segment="o'hara", churn_window_days=365, amber_threshold=45),
        Policy(tenant="south", green_threshold=98, **{"from": date(2026, 1, 3)}),
    ],
]


@pytest.mark.parametrize("policies", POLICIES)
def test_every_day_agrees_with_the_scalar_scorer(warehouse, policies):
    report = what_if(warehouse, policies, DAYS[0], DAYS[-1])
    assert [day.as_of_date for day in report.days] == list(DAYS)
    assert report.mrr_known
    rags, risks = Counter(), Counter()
    for found in report.days:
        wanted, moved = Counter(), Counter()
        for number, row in enumerate(ROWS):
            signals = CSMHealthSignals(**row)
            policy = applying(policies, TENANTS[number % 2], segment_of(number, found.as_of_date), found.as_of_date)
            before = CSMHealthScorer().score(signals)
            after = CSMHealthScorer(
                green_threshold=policy.green_threshold,
                amber_threshold=policy.amber_threshold,
                churn_window_days=policy.churn_window_days,
            ).score(signals)
            rags[before.rag, after.rag] += 1
            risks[before.churn_risk_level, after.churn_risk_level] += 1
            wanted["accounts"] += 1
            wanted["rag_changed"] += before.rag != after.rag
            wanted["risk_changed"] += before.churn_risk_level != after.churn_risk_level
            wanted["alerts_before"] += before.should_alert
            wanted["alerts_after"] += after.should_alert
            wanted["alerts_more"] += after.should_alert and not before.should_alert
            wanted["alerts_fewer"] += before.should_alert and not after.should_alert
            if before.rag != after.rag and number % 10 != 7:
                moved["USD" if number % 10 == 3 else "EUR"] += Decimal("10.10")
        assert {name: getattr(found, name) for name in wanted} == dict(wanted)
        assert dict(found.mrr_moved) == dict(moved)
    assert dict(report.rag_migrations) == dict(rags)
    assert dict(report.risk_migrations) == dict(risks)


@pytest.mark.parametrize("policies", POLICIES)
def test_the_accounts_that_change_on_the_last_day_are_those_of_the_scalar_scorer(warehouse, policies):
    report = what_if(warehouse, policies, DAYS[0], DAYS[1])
    wanted = {}
    for number, row in enumerate(ROWS):
        signals = CSMHealthSignals(**row)
        policy = applying(policies, TENANTS[number % 2], segment_of(number, DAYS[1]), DAYS[1])
        before = CSMHealthScorer().score(signals)
        after = CSMHealthScorer(
            green_threshold=policy.green_threshold,
            amber_threshold=policy.amber_threshold,
            churn_window_days=policy.churn_window_days,
        ).score(signals)
        pairs = [(one.rag, one.churn_risk_level, one.should_alert) for one in (before, after)]
        if pairs[0] != pairs[1]:
            wanted[f"A{number}"] = (TENANTS[number % 2], *pairs)
    found = {
        one.account_id: (
            one.tenant_id,
            (one.rag_before, one.risk_before, one.alert_before),
            (one.rag_after, one.risk_after, one.alert_after),
        )
        for one in report.accounts
    }
    assert found == wanted
    assert len(report.accounts) == len(wanted)
    for one in report.accounts:
        facts = (one.account_name, one.csm_owner, one.mrr, one.currency)
        last = one.account_id[-1]
        known = (
            f"Name of\n{one.account_id}",
            None if last == "4" else "Owner <1>",
            None if last == "7" else Decimal("1234.50"),
            "USD" if last == "3" else "EUR",
        )
        assert facts == ((None,) * 4 if last == "9" else known)


def test_the_worst_changes_of_the_band_come_first(warehouse):
    accounts = what_if(warehouse, POLICIES[3]).accounts
    order = {level: place for places in (RAGS, CHURN_RISKS) for place, level in enumerate(places)}
    keys = [
        (one.rag_before == one.rag_after, -order[one.rag_after], -order[one.risk_after], one.tenant_id, one.account_id)
        for one in accounts
    ]
    assert keys == sorted(keys)
    assert len({key[:3] for key in keys}) > 2
    assert what_if(warehouse, POLICIES[3]).accounts == accounts


def test_the_text_shows_twenty_accounts_and_counts_the_others(warehouse):
    report = what_if(warehouse, POLICIES[3])
    text = report_text(report)
    listed = text.split("accounts that change on 2026-01-03:\n")[1].splitlines()
    shown = listed[1:21]
    assert listed[0].split() == ["account", "name", "owner", "MRR", "band", "risk", "alert"]
    assert [line.split()[0] for line in shown] == [one.account_id for one in report.accounts[:20]]
    assert listed[21] == f"… and {len(report.accounts) - 20} more accounts; --json lists all"
    assert len(report.as_dict()["accounts"]) == len(report.accounts) > 20
    by_account = dict(zip((one.account_id for one in report.accounts), shown, strict=False))
    for one in report.accounts[:20]:
        last = one.account_id[-1]
        mrr = "unknown" if last in "79" else f"1,234.50 {'USD' if last == '3' else 'EUR'}"
        assert f"{mrr}  {one.rag_before} → {one.rag_after}" in by_account[one.account_id]
        assert ("unassigned" in by_account[one.account_id]) == (last == "4")
        assert (f"Name of {one.account_id}" in by_account[one.account_id]) == (last != "9")


def test_without_changes_the_text_says_so(warehouse):
    report = what_if(warehouse, [])
    assert list(report.accounts) == report.as_dict()["accounts"] == []
    assert "no account changes band, risk or alert on 2026-01-03" in report_text(report)


def test_the_reference_policies_move_accounts(warehouse):
    moved = [sum(day.rag_changed for day in what_if(warehouse, policies, *DAYS[::2]).days) for policies in POLICIES]
    assert moved[0] == moved[2] == 0
    assert all(number > 0 for number in (moved[1], moved[3], moved[4]))


def test_without_days_it_is_the_last_one(warehouse):
    assert [day.as_of_date for day in what_if(warehouse, []).days] == [DAYS[-1]]
    assert [day.as_of_date for day in what_if(warehouse, [], date_to=DAYS[1]).days] == [DAYS[1]]
    assert [day.as_of_date for day in what_if(warehouse, [], DAYS[1]).days] == list(DAYS[1:])


def test_a_copy_of_the_marts_alone_can_be_asked(warehouse, tmp_path):
    policies = [Policy(segment="smb", green_threshold=90)]
    with duckdb.connect(str(tmp_path / "published.duckdb")) as copy:
        copy.execute("create schema marts")
        for table in ("csm_health_signals", "csm_health_scores", "csm_health_last"):
            copy.register("rows", warehouse.sql(f"select * from marts.{table}").to_arrow_table())
            copy.execute(f"create table marts.{table} as from rows")
        report = what_if(copy, policies)
        everywhere = what_if(copy, [Policy(green_threshold=90)])
    assert not report.mrr_known
    assert dict(report.days[0].mrr_moved) == {}
    assert "unknown" in report_text(report)
    # There, every account's segment is its latest one.
    assert report.days == everywhere.days
    # A copy without the accounts of each day has neither names nor owners.
    assert len(report.accounts) == report.days[0].rag_changed > 0
    assert {(one.account_name, one.csm_owner, one.mrr) for one in report.accounts} == {(None, None, None)}
    assert "unassigned" not in report_text(report)


def test_nothing_is_written(path):
    before = path.read_bytes()
    with duckdb.connect(str(path)) as connection:
        tables = connection.execute("select schema_name, table_name from duckdb_tables() order by all").fetchall()
        what_if(connection, POLICIES[-1], *DAYS[::2])
        assert (
            connection.execute("select schema_name, table_name from duckdb_tables() order by all").fetchall() == tables
        )
    assert path.read_bytes() == before


def test_text_and_object_state_the_same(warehouse):
    report = what_if(warehouse, POLICIES[1], DAYS[0], DAYS[0])
    found = report.as_dict()
    (day,) = found["days"]
    assert day["as_of_date"] == "2026-01-01"
    assert sum(pair["account_days"] for pair in found["rag_migrations"]) == day["accounts"] == len(ROWS)
    text = report_text(report)
    assert f"{day['alerts_before']} → {day['alerts_after']}" in text
    assert f"{Decimal(day['mrr_moved']['EUR']):,.2f} EUR" in text
    first = found["accounts"][0]
    assert list(first) == [
        *("tenant_id", "account_id", "account_name", "csm_owner", "mrr", "currency", "rag_before", "rag_after"),
        *("risk_before", "risk_after", "alert_before", "alert_after"),
    ]
    assert {one["mrr"] for one in found["accounts"]} <= {"1234.50", None}


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ((date(2027, 1, 1), date(2027, 1, 2)), "no day from 2027-01-01 to 2027-01-02 is complete; .* 2026-01-01"),
        ((date(2026, 1, 2), date(2026, 1, 1)), "is after"),
    ],
)
def test_a_span_without_scores_is_told(warehouse, span, said):
    with pytest.raises(InputError, match=said):
        what_if(warehouse, [], *span)


def test_an_empty_warehouse_is_told(tmp_path):
    with duckdb.connect(str(tmp_path / "empty.duckdb")) as connection:
        with pytest.raises(InputError, match="csm run"):
            what_if(connection, [])
        connection.execute(
            "create schema marts; create table marts.csm_health_signals (as_of_date date); "
            "create table marts.csm_health_scores (as_of_date date)"
        )
        with pytest.raises(InputError, match="nothing is scored yet"):
            what_if(connection, [])
