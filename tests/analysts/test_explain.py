"""Explanations: parts that add up exactly, printed figures that add up as printed, moves that reach the band."""

import json
import math
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.analysts.explain import Cents, Change, Explanation, explain, explain_change, next_band_moves
from csm_core.analysts.explain_account import explain_account, load_explanation
from csm_core.analysts.explain_text import change_lines, explanation_lines, move_lines, report_text
from csm_core.display_names import SIGNALS, input_name
from csm_core.errors import InputError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, RAGS, RUBRIC, SIGNAL_NAMES
from csm_core.schemas import CSMHealthSignals
from csm_core.scoring.sql import scoring_sql
from csm_core.thresholds import Thresholds
from tests.examples import examples
from tests.scoring_cases import BEST, MIDDLE, ROWS, WORST, boundary_rows, frame_of, null_rows

DEFAULTS = Thresholds()
WIDE = Thresholds(churn_window_days=90)
KEYS = ("tenant_id", "account_id", "as_of_date")
FACTS = ("account_name", "csm_owner", "segment", "mrr", "currency", "renewal_date")


def explained(row: dict[str, Any], **policy: Any) -> Explanation:
    signals = CSMHealthSignals(**row)
    return explain(signals, CSMHealthScorer(**policy).score(signals, "A"))


def changed(before: dict[str, Any], after: dict[str, Any], earlier=DEFAULTS, later=DEFAULTS) -> Change:
    policies = [
        {name: getattr(policy, name) for name in ("green_threshold", "amber_threshold", "churn_window_days")}
        for policy in (earlier, later)
    ]
    return explain_change(explained(before, **policies[0]), explained(after, **policies[1]), earlier, later)


# -- one day --------------------------------------------------------------------------------------------------------


def assert_adds_up(explanation: Explanation) -> None:
    score = explanation.score
    points = [part.points for part in explanation.parts]
    assert points == list(score.signal_breakdown.values())
    assert math.fsum(points) == score.raw_score
    assert sum(Fraction(part.added) for part in explanation.parts) == Fraction(score.raw_score)
    assert sum(part.added for part in reversed(explanation.parts)) == score.raw_score
    assert Fraction(score.raw_score) + Fraction(explanation.cap) == Fraction(score.score)
    cents = Cents.of(explanation)
    assert sum(cents.parts.values()) == cents.raw_score
    assert cents.raw_score + cents.cap == cents.score
    assert abs(cents.score - Decimal(score.score)) <= Decimal("0.005")
    for part in explanation.parts:
        assert abs(cents.parts[part.signal] - Decimal(part.points)) < Decimal("0.0051")


@settings(max_examples=examples(300), deadline=None)
@given(row=ROWS)
def test_the_parts_of_a_day_add_up_exactly(row):
    assert_adds_up(explained(row))


def test_the_parts_of_every_boundary_add_up_exactly():
    for row in [*boundary_rows(), *null_rows()]:
        assert_adds_up(explained(row))


def test_an_explanation_names_points_weight_and_cap():
    found = explained({**BEST, "tam_health_rag": "RED"}).as_dict()
    assert list(found["signals"]) == list(SIGNAL_NAMES)
    assert found["signals"]["usage_trend"] == {"value": "growing", "points": 15.0, "weight": 15}
    assert found["cap"] == 83.3 - 98.0
    assert (found["raw_score"], found["score"], found["tam_health_rag"]) == (98.0, 83.3, "RED")
    lines = explanation_lines(explained({**BEST, "tam_health_rag": "RED"}))
    assert any(re.fullmatch(r"cap \(TAM\) +RED +-14\.70", line) for line in lines)
    assert any(re.fullmatch(r"usage trend +growing +15\.00 +15", line) for line in lines)
    assert any(re.fullmatch(r"support sentiment +positive, 0 open +10\.00 +10", line) for line in lines)
    assert not any("cap" in line for line in explanation_lines(explained(BEST)))
    assert [part.lost for part in explained(BEST).parts] == [2.0, *[0.0] * 10]


# -- a change -------------------------------------------------------------------------------------------------------


def assert_change_adds_up(change: Change) -> None:
    assert list(change.parts) == [*SIGNAL_NAMES, "cap", "policy", "rounding"]
    exact = Fraction(change.after.score.score) - Fraction(change.before.score.score)
    assert sum(map(Fraction, change.parts.values())) == exact
    assert math.fsum(change.parts.values()) == change.change
    assert change.change == change.after.score.score - change.before.score.score
    assert change.parts["policy"] == 0
    assert abs(change.parts["rounding"]) < 1e-13
    for margin in change.margins().values():
        assert margin["before"] + margin["signals"] + margin["cap"] + margin["policy"] == margin["after"]


@settings(max_examples=examples(300), deadline=None)
@given(before=ROWS, after=ROWS)
def test_the_parts_of_a_change_add_up_exactly(before, after):
    assert_change_adds_up(changed(before, after))


def test_the_parts_of_changes_between_boundaries_add_up_exactly():
    rows = [*null_rows(), *boundary_rows()[::7]]
    for before, after in zip(rows, reversed(rows), strict=True):
        assert_change_adds_up(changed(before, after))


def test_a_difference_that_no_double_holds_leaves_its_last_bit_to_rounding():
    low = {**WORST, "feature_adoption_rate": 0.1, "tam_health_rag": "RED", "support_sentiment": "critical"}
    change = changed({**low, "feature_adoption_rate": 1 / 3}, {**BEST, "feature_adoption_rate": 0.9 - 1e-9})
    assert_change_adds_up(change)
    assert abs(sum(list(change.parts.values())[:12]) - change.change) < 1e-12


def test_a_change_of_signals_and_cap_is_split():
    change = changed(BEST, {**BEST, "usage_trend": "declining", "tam_health_rag": "AMBER"})
    moved = {name: part for name, part in change.parts.items() if part}
    assert moved.pop("usage_trend") == -12.0
    assert moved.pop("cap") == 86.0 * 0.95 - 86.0
    assert not moved
    assert change.rag_moved_by == ()
    lines = change_lines(change)
    assert any(re.fullmatch(r"score +98\.00 +81\.70 +-16\.30", line) for line in lines)
    assert any(re.fullmatch(r" +usage trend +growing +declining +-12\.00", line) for line in lines)
    assert any(re.fullmatch(r" +cap \(TAM\) +none +AMBER +-4\.30", line) for line in lines)
    assert not any("login" in line for line in lines)


def test_values_have_their_unit_and_levels_their_name():
    row = {**MIDDLE, "invoice_payment_status": "overdue_90_plus", "login_frequency_days": None}
    lines = explanation_lines(explained({**row, "days_to_renewal": 1}))
    assert any(re.fullmatch(r"invoice payments +90 days or more overdue +0\.00 +10", line) for line in lines)
    assert any(re.match(r"login frequency +unknown ", line) for line in lines)
    assert any(re.match(r"time to renewal +1 day ", line) for line in lines)


def test_what_moved_no_point_stands_beside_the_table():
    later = {**BEST, "days_to_renewal": 199, "support_sentiment": "critical", "open_ticket_count": 2}
    lines = change_lines(changed({**BEST, "support_sentiment": "critical"}, later))
    assert lines[2:] == [
        "changed without effect on points: support sentiment critical, 0 open → critical, 2 open; "
        "time to renewal 200 days → 199 days"
    ]
    assert not any("without effect on points" in line for line in change_lines(changed(BEST, BEST)))


def test_a_change_of_churn_risk_and_of_the_window_is_told():
    near = {**MIDDLE, "days_to_renewal": 61}
    assert "churn risk medium became high (contract renewal near), alert" in change_lines(
        changed(near, near, later=WIDE)
    )
    (said,) = (line for line in change_lines(changed(near, near, later=WIDE)) if line.startswith("policy: "))
    assert "churn window 60 days before" in said
    assert said.endswith("churn window 90 days after")
    assert not any("churn risk" in line for line in change_lines(changed(near, {**near, "nps_score": None})))


@pytest.mark.parametrize(
    ("before", "after", "later", "moved_by"),
    [
        (BEST, MIDDLE, DEFAULTS, ("score",)),
        (BEST, BEST, Thresholds(99, 40, 60), ("policy",)),
        (WORST, BEST, Thresholds(99, 40, 60), ("score", "policy")),
        (BEST, MIDDLE, Thresholds(50, 40, 60), ("score", "policy")),
        (BEST, BEST, DEFAULTS, ()),
    ],
)
def test_what_moved_the_band_is_told_apart(before, after, later, moved_by):
    change = changed(before, after, DEFAULTS, later)
    assert change.rag_moved_by == moved_by
    assert change.parts["policy"] == 0
    text = "\n".join(change_lines(change))
    if change.before.score.rag != change.after.score.rag:
        assert f"because of the {' and the '.join(moved_by)}" in text
    elif moved_by:
        assert "the changes of score and policy cancel out" in text
    assert ("policy:" in text) == (later != DEFAULTS)
    margin = change.margins()["green"]
    assert margin["policy"] == Decimal("70.00") - Decimal(later.green_threshold)


# -- the next band --------------------------------------------------------------------------------------------------


def band_of(row: dict[str, Any], policy: Thresholds = DEFAULTS) -> str:
    scorer = CSMHealthScorer(
        green_threshold=policy.green_threshold,
        amber_threshold=policy.amber_threshold,
        churn_window_days=policy.churn_window_days,
    )
    return scorer.score(CSMHealthSignals(**row)).rag


@settings(max_examples=examples(80), deadline=None)
@given(row=ROWS, green=st.floats(45, 100))
def test_moves_reach_the_band_and_nothing_nearer_does(row, green):
    policy = Thresholds(green, 40.0, 60)
    now = RAGS.index(band_of(row, policy))
    found = next_band_moves(CSMHealthSignals(**row), policy)
    assert found.up == (now > 0)
    assert RAGS.index(found.target) == now + (-1 if found.up else 1)
    for move in found.moves:
        then = RAGS.index(band_of({**row, move.field: move.to}, policy))
        assert then < now if found.up else then > now
        assert move.rag == RAGS[then]
        if move.value is not None and isinstance(move.value, int):
            # One step back towards the present value no longer suffices: the change is the smallest.
            back = move.to + (1 if move.value > move.to else -1)
            assert band_of({**row, move.field: back}, policy) == RAGS[now]
        if move.field == "feature_adoption_rate":
            back = math.nextafter(move.to, move.value)
            assert band_of({**row, move.field: back}, policy) == RAGS[now]
    missing = {field.name for field in FIELDS} - {move.field for move in found.moves}
    for field in FIELDS:
        if field.name in missing and field.levels:
            reachable = {RAGS.index(band_of({**row, field.name: level}, policy)) for level in field.levels}
            assert all(place >= now if found.up else place <= now for place in reachable)


def test_moves_are_in_order_and_name_the_smallest_change():
    row = {**MIDDLE, "feature_adoption_rate": 0.6}
    assert CSMHealthScorer().score(CSMHealthSignals(**row)).score == 69.0
    found = next_band_moves(CSMHealthSignals(**row), DEFAULTS)
    assert [(move.field, move.to) for move in found.moves] == [
        ("feature_adoption_rate", pytest.approx(0.65, rel=1e-15, abs=1e-15)),
        ("usage_trend", "growing"),
        ("login_frequency_days", 7),
        ("support_sentiment", "positive"),
        ("open_ticket_count", 1),
        ("days_to_renewal", 91),
        ("seats_utilization_rate", 0.8),
        ("stakeholder_engagement", "high"),
        ("nps_score", 7),
    ]
    assert {move.field: move.signal for move in found.moves}["open_ticket_count"] == "support_sentiment"
    assert found.as_dict()["moves"][2] == {
        "input": "login_frequency_days",
        "value": 20,
        "to": 7,
        "score": 72.0,
        "rag": "GREEN",
    }


def test_the_assessment_is_an_input_like_the_others():
    row = {**MIDDLE, "feature_adoption_rate": 0.65, "tam_health_rag": "AMBER"}
    found = next_band_moves(CSMHealthSignals(**row), DEFAULTS)
    assert [(move.field, move.to) for move in found.moves][1:] == [
        ("usage_trend", "growing"),
        ("days_to_renewal", 181),
        ("tam_health_rag", "GREEN"),
    ]
    assert found.moves[-1].signal is None
    assert found.moves[-1].score == 70.0


def test_a_green_account_is_told_what_would_lose_it():
    row = {**BEST, "feature_adoption_rate": 0.0, "days_to_renewal": 60}
    found = next_band_moves(CSMHealthSignals(**row), DEFAULTS)
    assert (found.up, found.target) == (False, "AMBER")
    moves = {move.field: move.to for move in found.moves}
    assert moves["usage_trend"] == "stable"
    assert moves["login_frequency_days"] == 31
    assert "feature_adoption_rate" not in moves
    assert move_lines(found)[0] == "to fall to AMBER, any one of:"


@pytest.mark.parametrize(
    ("field", "base", "to"),
    [
        ("nps_score", {"feature_adoption_rate": 0.0, "escalation_count_90_days": 2}, 9),
        ("days_to_renewal", {"feature_adoption_rate": 0.0}, 91),
        ("login_frequency_days", {"feature_adoption_rate": 0.0}, 30),
    ],
)
def test_an_unknown_value_moves_to_the_least_demanding_that_suffices(field, base, to):
    row = {**BEST, **base, field: None}
    score = CSMHealthScorer().score(CSMHealthSignals(**row)).score
    found = next_band_moves(CSMHealthSignals(**row), Thresholds(math.nextafter(score, 100), 40, 60))
    (move,) = (move for move in found.moves if move.field == field)
    assert (move.value, move.to) == (None, to)
    assert re.search(rf"{input_name(field)} +unknown +→ +{to}", "\n".join(move_lines(found)))


def test_nothing_suffices_alone_is_said():
    assert move_lines(next_band_moves(CSMHealthSignals(**WORST), DEFAULTS)) == [
        "no change of a single input would reach AMBER"
    ]
    assert next_band_moves(CSMHealthSignals(**BEST), DEFAULTS).moves == ()


def test_a_printed_rate_suffices():
    row = {**MIDDLE, "feature_adoption_rate": 0.4}
    score = CSMHealthScorer().score(CSMHealthSignals(**row)).score
    policy = Thresholds(score + 1 / 3, 40, 60)
    found = next_band_moves(CSMHealthSignals(**row), policy)
    (line,) = (line for line in move_lines(found) if "feature adoption" in line)
    printed = float(line.split("→")[1].split()[0])
    assert band_of({**row, "feature_adoption_rate": printed}, policy) == "GREEN"


# -- from the warehouse ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Three days of accounts in two tenants; the last day is judged by a stricter policy."""
    path: Path = tmp_path_factory.mktemp("warehouse") / "csm.duckdb"
    days = {date(2026, 1, 1): BEST, date(2026, 1, 2): MIDDLE, date(2026, 1, 3): {**MIDDLE, "nps_score": None}}
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema marts")
        for number, (day, row) in enumerate(days.items()):
            frame = frame_of([row, row, WORST, WORST]).assign(
                tenant_id=["north", "south", "north", "north"], account_id=["acc-1", "acc-1", "acc-2", "it's; drop --"]
            )
            connection.register("frame", frame)
            keys = "tenant_id, account_id"
            connection.execute("create or replace temp table day as select *, ?::date as as_of_date from frame", [day])
            inputs = ", ".join(field.name for field in FIELDS)
            signals = (
                f"select {keys}, as_of_date, {inputs}, if(nps_score is null, 'nps_score', '') as missing_signals, "
                "if(nps_score is null, 0.97, 1.0)::double as signal_coverage from day"
            )
            green = f"{70 + 15 * (number == 2)}.0"
            scored = scoring_sql(
                f"(select *, {green}::double as green_threshold, 40.0::double as amber_threshold, "
                "60::bigint as churn_window_days from day)",
                green="green_threshold",
                amber="amber_threshold",
                churn_window_days="churn_window_days",
                keys=(*KEYS, "green_threshold", "amber_threshold", "churn_window_days"),
            )
            scores = f"select *, 'hash{number}' as config_hash, ?::timestamp as scored_at from ({scored})"
            for table, sql, values in (
                ("csm_health_signals", signals, []),
                ("csm_health_scores", scores, [datetime(2026, 1, 4)]),  # noqa: DTZ001 - stored without an offset
            ):
                verb = f"create table marts.{table} as" if number == 0 else f"insert into marts.{table} by name"
                connection.execute(f"{verb} {sql}", values)
        connection.execute(
            "create table marts.csm_health_last as select distinct tenant_id, account_id, "
            "'Name of ' || account_id as account_name from marts.csm_health_scores"
        )
        # acc-1 changes its owner and MRR from day to day; acc-2 has a name only; the third account has no row.
        connection.execute(
            "create table marts.csm_accounts_daily as select tenant_id, account_id, as_of_date, "
            "'Name of ' || account_id || chr(27) as account_name, "
            "case when account_id = 'acc-1' then 'Ada ' || tenant_id || day(as_of_date) end as csm_owner, "
            "case when account_id = 'acc-1' then 'smb' end as segment, "
            "case when account_id = 'acc-1' then 1200.5 + day(as_of_date) end::decimal(38, 2) as mrr, "
            "case when account_id = 'acc-1' then 'EUR' end as currency, "
            "case when account_id = 'acc-1' then date '2026-12-01' end as renewal_date "
            "from marts.csm_health_scores where account_id in ('acc-1', 'acc-2')"
        )
        connection.execute(
            "create table marts.csm_signal_points as "
            "select tenant_id, account_id, as_of_date, 'usage_trend' as signal, "
            "day(as_of_date) || ' events of ' || tenant_id || chr(27) as fact "
            "from marts.csm_health_scores where account_id in ('acc-1', 'acc-2') union all by name "
            "select tenant_id, account_id, as_of_date, 'nps_score' as signal, null as fact from marts.csm_health_scores"
        )
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def test_an_account_is_explained_on_its_latest_day(warehouse):
    report = explain_account(warehouse, "north/acc-1")
    assert (report.day.as_of_date, report.day.tenant_id, report.day.policy.green_threshold) == (
        date(2026, 1, 3),
        "north",
        85.0,
    )
    assert report.day.missing_signals == ("nps_score",)
    assert report.day.follows_the_rubric
    text = report_text(report)
    assert text.startswith("account acc-1 (tenant north) on 2026-01-03: ")
    assert re.search(r"NPS +unknown +2\.00 +3  no data", text)
    assert "signal coverage 97%" in text
    assert "another version" not in text
    assert "\nGREEN from 85, AMBER from 40, churn window 60 days\n" in text


def test_a_change_since_a_day_is_explained_with_its_policies(warehouse):
    report = explain_account(warehouse, "north/acc-1", as_of=date(2026, 1, 3), since=date(2026, 1, 1))
    assert_change_adds_up(report.change)
    found = report.as_dict()
    assert found["since"]["as_of_date"] == "2026-01-01"
    assert math.fsum(found["since"]["parts"].values()) == found["since"]["change"]
    assert found["since"]["change"] == found["score"] - found["since"]["before"]["score"]
    assert found["since"]["policy_before"]["green_threshold"] == 70.0
    assert found["policy"]["green_threshold"] == 85.0
    text = report_text(report)
    assert re.search(
        r"policy: GREEN from 70, AMBER from 40, churn window 60 days before, GREEN from 85, .* after", text
    )
    assert "different configurations" in text
    assert report.since.explanation.score.score == 98.0


def test_the_change_since_the_last_health_record_names_the_signals_that_moved_most(warehouse, tmp_path):
    path = warehouse.execute("select path from duckdb_databases() where path is not null").fetchone()[0]
    copy = tmp_path / "with_records.duckdb"
    copy.write_bytes(Path(path).read_bytes())
    with duckdb.connect(str(copy)) as connection:
        connection.execute("create schema sync")
        connection.execute("create table sync.notion_pages (kind varchar, account_id varchar, facts varchar)")
        for kind, day in (
            ("record", "2026-01-01"),
            ("record", "2026-01-03"),
            ("health", "2026-01-02"),
            ("record", "?"),
        ):
            facts = json.dumps({"as_of_date": day})
            connection.execute("insert into sync.notion_pages values (?, 'acc-1', ?)", [kind, facts])
        report = explain_account(connection, "north/acc-1", as_of=date(2026, 1, 3))
        assert explain_account(connection, "north/acc-1", as_of=date(2026, 1, 1)).record is None
    wanted = explain_account(warehouse, "north/acc-1", as_of=date(2026, 1, 3), since=date(2026, 1, 1))
    assert report.record == date(2026, 1, 1)
    assert report.as_dict()["last_record"]["parts"] == wanted.as_dict()["since"]["parts"]
    largest = max(SIGNAL_NAMES, key=lambda name: abs(wanted.change.parts[name]))
    (line,) = [one for one in report_text(report).splitlines() if one.startswith("since the health record")]
    assert re.match(
        r"since the health record of 2026-01-01: score 98\.00 GREEN → [0-9.]+ [A-Z]+ \([-+][0-9.]+\), mostly ", line
    )
    assert input_name(largest) in line
    assert "last_record" not in wanted.as_dict()


def test_the_account_is_described_as_on_the_explained_day(warehouse):
    report = explain_account(warehouse, "north/acc-1", as_of=date(2026, 1, 2), since=date(2026, 1, 1))
    assert report_text(report).splitlines()[1:3] == [
        "Name of acc-1  · owner Ada north2 · segment smb · MRR 1,202.50 EUR · renewal date 2026-12-01",
        "",
    ]
    found = report.as_dict()
    assert {name: found[name] for name in FACTS} == {
        "account_name": "Name of acc-1\x1b",
        "csm_owner": "Ada north2",
        "segment": "smb",
        "mrr": "1202.50",
        "currency": "EUR",
        "renewal_date": "2026-12-01",
    }


def test_unknown_attributes_of_an_account_are_unknown(warehouse):
    report = explain_account(warehouse, "acc-2")
    assert "Name of acc-2  · owner unassigned · segment unknown · MRR unknown · renewal date unknown" in (
        report_text(report)
    )
    assert [report.as_dict()[name] for name in FACTS] == ["Name of acc-2\x1b", None, None, None, None, None]


def test_the_numbers_behind_a_signal_are_beside_its_points(warehouse):
    report = explain_account(warehouse, "north/acc-1", date(2026, 1, 1))
    assert report.as_dict()["facts"] == {"usage_trend": "1 events of north\x1b"}
    (line,) = [line for line in report_text(report).splitlines() if line.startswith("usage trend")]
    assert line.rstrip().endswith("1 events of north")
    assert explain_account(warehouse, "it's; drop --").as_dict()["facts"] == {}


def test_an_account_without_a_row_of_the_day_is_explained_without_attributes(warehouse):
    report = explain_account(warehouse, "it's; drop --")
    assert report_text(report).splitlines()[1] == ""
    assert [report.as_dict()[name] for name in FACTS] == [None] * len(FACTS)


def test_accounts_are_found_by_id_by_tenant_and_by_name(warehouse):
    assert explain_account(warehouse, "acc-2").day.account_id == "acc-2"
    assert explain_account(warehouse, "name of ACC-2").day.account_id == "acc-2"
    assert explain_account(warehouse, "of Acc-2").day.account_id == "acc-2"
    assert explain_account(warehouse, "it's; drop --").day.account_id == "it's; drop --"
    assert load_explanation(warehouse, "acc-2", date(2026, 1, 1)).score.raw_score == 8.0
    assert load_explanation(warehouse, "acc-1", date(2026, 1, 1), "south").score.raw_score == 98.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"account": "acc-1"}, r"use one of north/acc-1 \(Name of acc-1\), south/acc-1 \(Name of acc-1\)"),
        ({"account": "acc-22"}, "no account 'acc-22' has been scored; did you mean acc-2"),
        ({"account": "nobody at all"}, "no account 'nobody at all' has been scored$"),
        ({"account": "acc-2", "as_of": date(2026, 2, 1)}, "no score on 2026-02-01; it has scores from 2026-01-01"),
        ({"account": "acc-2", "since": date(2025, 2, 1)}, "no score on 2025-02-01"),
        ({"account": "acc-2", "since": date(2026, 1, 3)}, "must be before"),
    ],
)
def test_what_cannot_be_explained_is_said(warehouse, arguments, said):
    with pytest.raises(InputError, match=said):
        explain_account(warehouse, **arguments)


def test_an_empty_warehouse_cannot_be_asked(tmp_path):
    with duckdb.connect(str(tmp_path / "empty.duckdb")) as connection, pytest.raises(InputError, match="csm run"):
        explain_account(connection, "acc-1")


def test_a_day_scored_by_another_rubric_is_told(warehouse, tmp_path):
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("create schema marts")
        for table in ("csm_health_signals", "csm_health_scores"):
            connection.register("rows", warehouse.sql(f"select * from marts.{table}").to_arrow_table())
            connection.execute(f"create table marts.{table} as from rows")
        connection.execute("update marts.csm_health_scores set usage_trend_points = 2, raw_score = 7, score = 7")
        report = explain_account(connection, "acc-2")
    assert not report.day.follows_the_rubric
    assert "another version of the rubric" in report_text(report)
    # This copy has no table of accounts by day.
    assert (report.facts, report.as_dict()["account_name"]) == (None, None)
    assert_adds_up(report.day.explanation)


def test_every_signal_is_in_every_report(warehouse):
    text = report_text(explain_account(warehouse, "acc-2"))
    assert all(SIGNALS[signal.name] in text for signal in RUBRIC)
    assert "churn risk critical (contract renewal near and usage declining), alert" in text
