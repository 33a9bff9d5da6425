"""Settled bands against a second implementation in plain Python, and built in ranges as well as day by day."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.sql.harness import fresh, run_model, table
from tests.sql.settled_oracle import BANDS, GAP, LEVELS, decides, settled
from tests.sql.test_model_cases import prepare

FIRST = date(2026, 1, 1)
MODEL = "marts/csm_settled_bands"

# The number of days up to the next scored day, and the band and level of that day. Most days change nothing.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([1] * 12 + [2, 3, 27, 28, 29, 30]),
        st.sampled_from(["same", "same", "next", *BANDS]),
        st.sampled_from(["same", "same", *LEVELS]),
        st.booleans(),
    ),
    min_size=1,
    max_size=160,
)
# GREEN and AMBER in turn for longer than the look-back.
FLAPPING = [(1, BANDS[number % 2], LEVELS[number % 2], False) for number in range(130)]


def expected(
    days: list[date], rags: Mapping[date, int], risks: Mapping[date, int], to_settle: int
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    if not days:
        return rows
    parts = [
        (BANDS, rags, decides(days, rags, to_settle, worst_at_once=False)),
        (LEVELS, risks, decides(days, risks, to_settle, worst_at_once=True)),
    ]
    for number, day in enumerate(days):
        before = days[number - 1] if number and (day - days[number - 1]).days <= GAP else None
        row: list[Any] = [day]
        for names, values, found in parts:
            value, since, on = settled(days, values, found, day)
            previous = names[settled(days, values, found, before)[0]] if before else None
            row += [names[value], previous, since, on]
        rows.append(tuple(row))
    return rows


@pytest.fixture(scope="module")
def warehouse():
    with fresh() as connection:
        for name in ("marts.csm_health_scores", "run.uncounted_days"):
            prepare(connection, name)
        run_model(connection, MODEL, [FIRST])
        yield connection


def empty(connection: Any) -> None:
    for name in ("marts.csm_health_scores", "run.uncounted_days", "marts.csm_settled_bands"):
        connection.execute(f"delete from {name}")


def columns(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(value for name, value in row.items() if name not in ("tenant_id", "account_id")) for row in rows]


@settings(max_examples=examples(25), deadline=None)
@given(STEPS, st.sampled_from([1, 2, 3, 3, 5, 28]), st.integers(0, 1000))
@example(FLAPPING, 3, 400)
@example([(2, "same", "same", True)], 1, 0)
@example([(28, band, level, False) for _, band, level, _ in FLAPPING[:20]], 28, 300)
def test_settled_bands_are_those_of_the_definition_in_every_range(warehouse, steps, to_settle, cut):
    """``cut`` is the place where the days are split into two ranges; the second is built without the first."""
    empty(warehouse)
    day, rag, risk = FIRST, 0, 0
    days: list[date] = []
    rags: dict[date, int] = {}
    risks: dict[date, int] = {}
    scores: list[dict[str, Any]] = []
    for step, band, level, held in steps:
        day += timedelta(days=step)
        now = {"same": rag, "next": 1 if rag != 1 else 0}.get(band)
        rag = BANDS.index(band) if now is None else now
        risk = risk if level == "same" else LEVELS.index(level)
        is_held = held and step == 2
        scores.append({"tenant_id": "t", "account_id": "A", "as_of_date": day, "rag": BANDS[rag]})
        scores[-1]["churn_risk_level"] = LEVELS[risk]
        if is_held:
            table(warehouse, "run.uncounted_days", [{"as_of_date": day}])
            continue
        days.append(day)
        rags[day], risks[day] = rag, risk
    table(warehouse, "marts.csm_health_scores", scores)
    wanted = expected(days, rags, risks, to_settle)
    parameters = {"transition_settle_days": to_settle}
    assert columns(run_model(warehouse, MODEL, [FIRST, day], parameters)) == wanted

    middle = FIRST + timedelta(days=cut % ((day - FIRST).days + 1))
    warehouse.execute("delete from marts.csm_settled_bands")
    second = columns(run_model(warehouse, MODEL, [middle, day], parameters))
    assert second == [row for row in wanted if row[0] >= middle]
    last_days = [one for one in days if one <= middle][-3:]
    for one in last_days:
        run_model(warehouse, MODEL, [one], parameters)
    found = columns(run_model(warehouse, MODEL, [day], parameters))
    assert [row for row in found if row[0] in last_days] == [row for row in wanted if row[0] in last_days]


def test_an_account_that_never_settles_has_the_worst_band_of_92_days(warehouse):
    """Its settled band does not alternate with its band."""
    empty(warehouse)
    days = [FIRST + timedelta(days=number) for number in range(120)]
    rows = [
        {"tenant_id": "t", "account_id": "A", "as_of_date": day, "rag": BANDS[number % 2], "churn_risk_level": "low"}
        for number, day in enumerate(days)
    ]
    table(warehouse, "marts.csm_health_scores", rows)
    found = run_model(warehouse, MODEL, [days[0], days[-1]])
    bands = [row["settled_rag"] for row in found]
    assert bands == ["GREEN"] * 93 + ["AMBER"] * 27
    assert [row["rag_settled_on"] for row in found[92:94]] == [days[0], None]
