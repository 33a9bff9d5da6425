"""The rubric as DuckDB macros: the same bits as the scorers, in a session that knows nothing of this project."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.scoring.macros import create_macros, macros
from tests.scoring_cases import BEST, MIDDLE, WORST, boundary_rows, expected, frame_of, null_rows, pair_rows, same

INPUTS = [field.name for field in FIELDS]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A file with the macros, closed again."""
    path = tmp_path_factory.mktemp("published") / "csm_analytics.duckdb"
    with duckdb.connect(str(path)) as connection:
        create_macros(connection)
    return path


@pytest.fixture
def session(published):
    with duckdb.connect(str(published), read_only=True) as connection:
        yield connection


def ask(session: duckdb.DuckDBPyConnection, expression: str) -> Any:
    ((answer,),) = session.execute(f"select {expression}").fetchall()
    return answer


@pytest.mark.parametrize("rows", [boundary_rows, null_rows, pair_rows], ids=lambda rows: rows.__name__)
def test_macros_give_the_bits_of_the_scorer(session, rows):
    given = rows()
    session.register("signals", frame_of(given))
    points = ", ".join(
        f"cast(csm_points_{name}({name}{', open_ticket_count' * (name == 'support_sentiment')}) as double) "
        f"as {name}_points"
        for name in SIGNAL_NAMES
    )
    cursor = session.execute(
        f"""
        with scored as (
            select *, {points},
                csm_raw_score({", ".join(name for name in INPUTS if name != "tam_health_rag")}) as raw_score,
                csm_score({", ".join(INPUTS)}) as score
            from signals
        ),
        banded as (select *, csm_rag(score, 75, 50) as rag from scored),
        risked as (
            select *,
                csm_churn_risk(rag, days_to_renewal, usage_trend, login_frequency_days, 10) as churn_risk_level,
                csm_churn_triggered_by(rag, days_to_renewal, usage_trend, login_frequency_days, 10)
                    as churn_triggered_by
            from banded
        )
        select *, csm_should_alert(rag, churn_risk_level) as should_alert from risked
        order by cast(substr(account_id, 2) as bigint)
        """
    )
    names = [name for name, *_ in cursor.description]
    for row, values in zip(given, cursor.fetchall(), strict=True):
        wanted = expected(row, green_threshold=75.0, amber_threshold=50.0, churn_window_days=10)
        assert same(dict(zip(names, values, strict=True)), wanted), row


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("csm_score(0.9, 'growing', 5, 10, 'current', 'positive', 0, 200, 0.85, 'high', 9, 0)", 98.0),
        ("csm_score(0.9, 'growing', 5, 10, 'current', 'positive', 0, 200, 0.85, 'high', 9, 0, 'RED')", 83.3),
        (
            "csm_score(0.5, 'stable', invoice_payment_status := 'current', seats_utilization_rate := 0.7, "
            "stakeholder_engagement := 'medium', tam_health_rag := 'RED')",
            54.4,
        ),
        ("csm_rag(70)", "GREEN"),
        ("csm_rag(69.99)", "AMBER"),
        ("csm_rag(39.99)", "RED"),
        ("csm_rag(69.99, 69)", "GREEN"),
        ("csm_rag(69.99, amber := 69.995)", "RED"),
        ("csm_rag(null)", None),
        ("csm_churn_risk('AMBER', 60, 'stable', 5)", "high"),
        ("csm_churn_risk('AMBER', 61, 'stable', 5)", "medium"),
        ("csm_churn_risk('AMBER', 61, 'stable', 5, churn_window_days := 90)", "high"),
        ("csm_churn_triggered_by('GREEN', 5, 'declining', null)", "behavioral"),
        ("csm_should_alert('AMBER', 'high')", True),
        ("csm_points_support_sentiment('negative')", 3),
    ],
)
def test_hypothetical_rows(session, expression, answer):
    assert ask(session, expression) == answer


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("csm_points_feature_adoption_rate(1.5)", "feature_adoption_rate is outside its range or levels: 1.5"),
        ("csm_points_feature_adoption_rate('nan'::double)", "feature_adoption_rate"),
        ("csm_points_usage_trend('rising')", "usage_trend is outside its range or levels: rising"),
        ("csm_points_usage_trend(null)", "usage_trend is outside its range or levels: null"),
        ("csm_points_support_sentiment('neutral', -1)", "open_ticket_count"),
        ("csm_score(0.5, 'stable')", "is outside its range or levels: null"),
        ("csm_rag(50, 40, 70)", "thresholds"),
        ("csm_rag(50, 101, 40)", "thresholds"),
        ("csm_churn_risk('BLUE', 1, 'stable', 1)", "rag must be one of GREEN, AMBER, RED"),
        ("csm_churn_risk('RED', 1, 'stable', 1, -1)", "churn_window_days"),
        ("csm_should_alert('RED', 'severe')", "churn_risk_level"),
    ],
)
def test_what_is_outside_the_contract_is_an_error_that_names_it(session, expression, said):
    with pytest.raises(duckdb.Error, match=said):
        session.execute(f"select {expression}").fetchall()


def test_every_macro_has_a_comment_and_answers_in_a_plain_session(published, tmp_path):
    script = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
        "score = \"csm_score(0.9, 'growing', 5, 10, 'current', 'positive', 0, 200, 0.85, 'high', 9, 0)\"; "
        "print(con.sql(f'select csm_rag({score})').fetchall()[0][0], 'csm_core' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", script, str(published)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert answer.stdout.split() == ["GREEN", "False"]
    with duckdb.connect(str(published), read_only=True) as connection:
        found = dict(
            connection.execute(
                "select function_name, comment from duckdb_functions() where function_name like 'csm\\_%' escape '\\'"
            ).fetchall()
        )
    assert set(found) == {macro.name for macro in macros()}
    assert all(found.values())


def test_the_macros_can_be_made_again(tmp_path):
    with duckdb.connect(str(tmp_path / "again.duckdb")) as connection:
        create_macros(connection)
        create_macros(connection)
        for row in (BEST, MIDDLE, WORST):
            values = ", ".join("null" if row[name] is None else repr(row[name]) for name in INPUTS)
            assert ask(connection, f"csm_score({values})") == expected(row)["score"]
