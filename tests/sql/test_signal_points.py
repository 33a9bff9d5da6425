"""``csm_signal_points`` has every signal of the rubric, with its weight, its value, its points and its fact."""

from datetime import date

from csm_core.rubric import FIELDS, RUBRIC
from tests.sql.harness import fresh, run_model, table
from tests.sql.test_model_cases import prepare

DAY = date(2026, 6, 30)
KEY = {"tenant_id": "t", "account_id": "A", "as_of_date": DAY}
KINDS = {field.name: field for field in FIELDS}


def test_every_signal_of_the_rubric_has_its_row():
    # Points and values differ by signal, so that none can be taken from another.
    points = {signal.name: number / 10 for number, signal in enumerate(RUBRIC, start=1)}
    values = {}
    for number, signal in enumerate(RUBRIC):
        field = KINDS[signal.name]
        values[signal.name] = field.levels[-1] if field.levels else number / 16 if field.kind == "rate" else number
    with fresh() as connection:
        for used in ("marts.csm_health_signals", "marts.csm_health_scores", "intermediate.int_signal_facts"):
            prepare(connection, used)
        table(connection, "marts.csm_health_signals", [{**KEY, **values}])
        table(
            connection,
            "marts.csm_health_scores",
            [{**KEY, **{f"{name}_points": value for name, value in points.items()}}],
        )
        table(
            connection,
            "intermediate.int_signal_facts",
            [{**KEY, **{signal.name: f"fact of {signal.name}" for signal in RUBRIC}}],
        )
        rows = run_model(connection, "marts/csm_signal_points", [DAY])
    found = {row["signal"]: (row["value"], row["points"], row["weight"], row["fact"]) for row in rows}
    assert found == {
        signal.name: (
            f"{values[signal.name]:.4f}" if KINDS[signal.name].kind == "rate" else str(values[signal.name]),
            points[signal.name],
            signal.weight,
            f"fact of {signal.name}",
        )
        for signal in RUBRIC
    }
    assert len(rows) == len(RUBRIC)
