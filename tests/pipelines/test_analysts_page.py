"""The queries of docs/analysts.md run on the published copy, and several give what the definitions say."""

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from csm_core.analysts.queries import query_published
from csm_core.config import PROJECT_ROOT
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, RUBRIC
from csm_core.schemas import CSMHealthSignals
from csm_core.warehouse.database import Warehouse
from tests.golden import oracle
from tests.sql.settled_oracle import BANDS, decides, settled

LAST = date(2026, 9, 30)
PAGE = (PROJECT_ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
QUERIES = {
    section.partition("\n")[0]: re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)
    if section.partition("\n")[0].endswith("?")
}
# Every day of the company is complete.
WITHOUT_ROWS = {"Which days do not count, and why?"}
AMOUNTS = re.compile(r"mrr|arr|arr_impact|new|expansion|contraction|churn")


def answer(acme, question: str) -> list[dict[str, Any]]:
    (query,) = QUERIES[question]
    return json.loads(query_published(Warehouse.from_config(acme.config), query, "json"))


@pytest.fixture(scope="module")
def connection(acme) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(acme.config.warehouse), read_only=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def records(connection) -> oracle.Records:
    return oracle.Records(connection)


@pytest.fixture(scope="module")
def customers(records) -> list[dict[str, Any]]:
    """Each customer of the last day with its score and its MRR, from the staged records, without the models."""
    found = []
    for account in oracle.population(records, LAST):
        signals = oracle.signals(records, account, LAST)
        is_stricter = (account["tenant_id"], account["segment"]) == ("north", "enterprise")
        score = CSMHealthScorer(green_threshold=75 if is_stricter else 70).score(
            CSMHealthSignals(**{field.name: signals[field.name] for field in FIELDS})
        )
        active = subscriptions_at(records, account["account_id"], LAST)
        currency = min((one["currency"] for one in active if one["currency"]), default=None)
        mrr = sum((one["mrr"] for one in active if one["currency"] == currency), Decimal(0)) if active else None
        found.append(
            {**account, "signals": signals, "score": score, "mrr": mrr, "currency": currency, "active": active}
        )
    return found


def subscriptions_at(records: oracle.Records, account_id: str, day: date) -> list[dict[str, Any]]:
    return [
        one
        for one in records.of["subscriptions"][account_id]
        if one["started_at"].date() <= day and (one["ended_at"] is None or one["ended_at"].date() > day)
    ]


def test_the_page_has_twenty_one_questions_with_a_query_each():
    assert len(QUERIES) == 21
    assert {question: len(queries) for question, queries in QUERIES.items()} == dict.fromkeys(QUERIES, 1)
    assert PAGE.count("```sql") == 21


@pytest.mark.parametrize("question", QUERIES)
def test_a_query_of_the_page_has_rows_and_named_columns(acme, question):
    (query,) = QUERIES[question]
    rows = answer(acme, question)
    assert bool(rows) == (question not in WITHOUT_ROWS)
    assert "*" not in query.replace("count(*)", "").replace(" * ", "")
    assert re.search(r"^order by ", query.rpartition("\nfrom ")[2], re.MULTILINE), "the order of the rows must be fixed"
    assert max(map(len, query.splitlines())) <= 130
    columns = list(rows[0]) if rows else ["as_of_date", "status"]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in columns)
    if any(AMOUNTS.fullmatch(name.split("_")[0]) or "mrr" in name for name in columns):
        assert "currency" in columns, "amounts of several currencies cannot be compared"


def test_customers_that_need_attention(acme, customers):
    wanted = {one["account_name"]: one["score"] for one in customers if one["score"].should_alert}
    rows = answer(acme, "Which customers need attention?")
    assert sorted(row["account_name"] for row in rows) == sorted(wanted)
    for row in rows:
        score = wanted[row["account_name"]]
        assert row["score"] == pytest.approx(score.score, abs=0.051)
        assert (row["rag"], row["churn_risk_level"]) == (score.rag, score.churn_risk_level)
    assert [row["score"] for row in rows] == sorted(row["score"] for row in rows)


def test_accounts_that_turned_red_this_week(acme, connection):
    days = defaultdict(list)
    for account, day, rag in connection.execute(
        "select account_id, as_of_date, rag from marts.csm_health_scores order by as_of_date"
    ).fetchall():
        days[account].append((day, rag))
    names = dict(connection.execute("select account_id, account_name from staging.stg_accounts").fetchall())
    wanted: Counter[tuple[str, str, str, str]] = Counter()
    for account, scored in days.items():
        bands = {day: BANDS.index(rag) for day, rag in scored}
        found = decides(list(bands), bands, 1, worst_at_once=False)
        states = {day: settled(list(bands), bands, found, day) for day in bands}
        for before, day in itertools.pairwise(bands):
            band, changed_on, settled_on = states[day]
            if band == BANDS.index("RED") != states[before][0] and day > LAST - timedelta(days=7):
                wanted[str(settled_on), str(changed_on), names[account], BANDS[states[before][0]]] += 1
    rows = answer(acme, "Who turned RED this week, and why?")
    columns = ("settled_on", "changed_on", "account_name", "from_rag")
    assert Counter(tuple(row[name] for name in columns) for row in rows) == wanted
    assert sum(wanted.values()) == 6


def test_accounts_that_moved_most(acme, connection):
    scores = {
        (account, day): score
        for account, day, score in connection.execute(
            "select account_id, as_of_date, score from marts.csm_health_scores"
        ).fetchall()
    }
    changes = [
        abs(score - scores[account, date(2026, 9, 2)])
        for (account, day), score in scores.items()
        if day == LAST and (account, date(2026, 9, 2)) in scores
    ]
    found = [abs(row["score_change"]) for row in answer(acme, "Whose score moved most in four weeks?")]
    assert found == pytest.approx(sorted(changes, reverse=True)[:20], abs=0.051)


def test_accounts_without_logins(acme, customers):
    logins = {one["account_name"]: one["signals"]["login_frequency_days"] for one in customers}
    wanted = {name: days is None for name, days in logins.items() if days is None or days > 90}
    rows = answer(acme, "Which accounts do not log in?")
    assert {row["account_name"]: row["never_logged_in"] for row in rows} == wanted


def test_revenue_at_risk_by_owner(acme, customers):
    wanted: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for one in customers:
        if one["mrr"] and one["score"].churn_risk_level in ("high", "critical"):
            key = (one["csm_owner"] or "unassigned", one["currency"])
            count, total = wanted.get(key, (0, Decimal(0)))
            wanted[key] = (count + 1, total + one["mrr"])
    rows = answer(acme, "How much MRR is at risk, by owner?")
    found = {
        (row["csm_owner"], row["currency"]): (row["accounts_at_risk"], Decimal(row["mrr_at_risk"])) for row in rows
    }
    assert found == wanted
    assert len(rows) == len(wanted) > 10


def test_owners_have_all_customers(acme, customers):
    wanted = Counter((one["csm_owner"] or "unassigned", one["score"].rag) for one in customers)
    found = Counter()
    for row in answer(acme, "How is each owner's portfolio?"):
        for rag in ("GREEN", "AMBER", "RED"):
            found[row["csm_owner"], rag] += int(row[rag.lower()])
    assert +found == wanted


def test_bands_of_segments(acme, customers):
    wanted = Counter((one["segment"] or "unsegmented", one["score"].rag) for one in customers)
    rows = answer(acme, "How many accounts has each band in each segment?")
    found = {(row["segment"], rag): int(row[rag.lower()]) for row in rows for rag in ("GREEN", "AMBER", "RED")}
    assert found == wanted
    means = {
        row["segment"]: sum(scores) / len(scores)
        for row in rows
        if (scores := [one["score"].score for one in customers if one["segment"] == row["segment"]])
    }
    assert {row["segment"]: row["mean_score"] for row in rows} == pytest.approx(means, abs=0.051)


def test_renewals_that_are_not_green(acme, customers):
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in customers:
        for subscription in one["active"]:
            monthly = subscription["term_months"] is not None and subscription["term_months"] < 2
            renewal = subscription["renews_at"].date() if subscription["renews_at"] and not monthly else None
            if renewal and LAST <= renewal <= LAST + timedelta(days=60) and one["score"].rag != "GREEN":
                wanted[one["account_name"], str(renewal)] += subscription["mrr"]
    rows = answer(acme, "Which renewals of the next 60 days are not GREEN?")
    assert {(row["account_name"], row["renewal_date"]): Decimal(row["mrr"]) for row in rows} == wanted
    assert len(rows) == len(wanted) > 10


def test_revenue_by_currency(acme, customers):
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    accounts: dict[str, set[str]] = defaultdict(set)
    for one in customers:
        for subscription in one["active"]:
            if subscription["mrr"]:
                wanted[subscription["currency"]] += subscription["mrr"]
                accounts[subscription["currency"]].add(one["account_id"])
    rows = answer(acme, "How much MRR and ARR do we have, by currency?")
    assert {row["currency"]: Decimal(row["mrr"]) for row in rows} == wanted
    assert {row["currency"]: Decimal(row["arr"]) for row in rows} == {name: 12 * mrr for name, mrr in wanted.items()}
    assert {row["currency"]: row["accounts"] for row in rows} == {name: len(ids) for name, ids in accounts.items()}
    assert {row["month_end"] for row in rows} == {str(LAST)}
    months = answer(acme, "How did revenue change in each of the last 12 months?")
    assert {row["currency"]: Decimal(row["mrr_end"]) for row in months if row["month"] == "2026-09-01"} == wanted
    assert len({row["month"] for row in months}) == 12


def test_movements_lead_from_one_month_to_the_next(acme):
    rows = answer(acme, "How did revenue change in each of the last 12 months?")
    ends: dict[str, Decimal] = {}
    for row in rows:
        start, new, more, less, lost, again, end = (
            Decimal(row[name])
            for name in ("mrr_start", "new", "expansion", "contraction", "churn", "reactivation", "mrr_end")
        )
        assert start + new + more - less - lost + again == end
        assert ends.get(row["currency"], start) == start
        ends[row["currency"]] = end


def test_retention_by_segment(acme, records):
    wanted: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for account in records.accounts:
        at: list[dict[str, Decimal]] = []
        for day in (date(2025, 9, 30), LAST):
            is_gone = account["churned_at"] is not None and account["churned_at"].date() <= day
            totals: dict[str, Decimal] = defaultdict(Decimal)
            for one in [] if is_gone else subscriptions_at(records, account["account_id"], day):
                totals[one["currency"]] += one["mrr"]
            at.append(totals)
        for currency, start in at[0].items():
            if start > 0:
                end = at[1].get(currency, Decimal(0))
                sums = wanted[account["segment"] or "unsegmented", currency]
                for place, amount in enumerate((start, min(start, end), end)):
                    sums[place] += amount
    rows = answer(acme, "How much revenue did we retain over the last 12 months, by segment?")
    assert {(row["segment"], row["currency"]) for row in rows} == set(wanted)
    for row in rows:
        start, retained, end = wanted[row["segment"], row["currency"]]
        assert Decimal(row["mrr_start"]) == start
        assert row["gross_revenue_retention"] == pytest.approx(float(retained / start), abs=0.00051)
        assert row["net_revenue_retention"] == pytest.approx(float(end / start), abs=0.00051)


def test_unused_features_of_the_largest_accounts(acme, records, customers):
    rows = answer(acme, "Which features of their plan do the largest accounts not use?")
    by_name = {one["account_name"]: one for one in customers}
    for row in rows:
        one = by_name[row["account_name"]]
        larger = [other for other in customers if other["currency"] == one["currency"] and other["mrr"] > one["mrr"]]
        assert len(larger) < 10
        used = {
            event["feature"]
            for event in records.of["usage_events"][one["account_id"]]
            if LAST - timedelta(days=28) < event["occurred_at"].date() <= LAST
        }
        features = row["features"].split(", ")
        assert len(features) == row["unused_features"]
        assert not used & set(features)
    assert len(rows) > 20


def test_points_of_one_account(acme, customers):
    (one,) = (one for one in customers if one["account_id"] == "A0026")
    rows = answer(acme, "How many points did each signal of an account have on a day?")
    points = {row["signal"]: row["points"] for row in rows}
    assert points == pytest.approx(one["score"].signal_breakdown, abs=0.0051)
    assert {row["signal"]: row["weight"] for row in rows} == {signal.name: signal.weight for signal in RUBRIC}
    assert (points["usage_trend"], points["feature_adoption_rate"]) == (3.0, 8.89)


def test_signals_that_cost_points(acme, customers):
    rows = answer(acme, "Which signals cost the portfolio the most points?")
    for row in rows:
        points = [one["score"].signal_breakdown[row["signal"]] for one in customers]
        assert row["mean_points"] == pytest.approx(sum(points) / len(points), abs=0.0051)
        assert row["accounts_without_points"] == points.count(0)
    assert len(rows) == len(RUBRIC)


def test_signals_that_lack_data(acme, customers):
    wanted = Counter(name for one in customers for name in one["signals"]["missing_signals"].split(",") if name)
    rows = answer(acme, "Which signals lack data, and for how many accounts?")
    assert {row["signal"]: row["accounts"] for row in rows} == wanted
    assert rows[0]["percent"] == pytest.approx(100 * max(wanted.values()) / len(customers), abs=0.051)
