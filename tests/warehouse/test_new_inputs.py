"""A step that a newer version added is built for the past days of the model that reads it, before those are rebuilt."""

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import SQL_ROOT, load_model
from csm_core.warehouse.new_inputs import build_new_inputs
from tests.examples import examples
from tests.sql.harness import PARAMETERS, fresh, staged, table

FIRST = date(2026, 6, 27)
STEPS = ("int_account_days", "int_account_subscriptions", "int_review_periods", "int_review_usage")
# Falls due on 2026-06-29, the first day within 90 days.
RENEWAL = "2026-09-27"


def model_of(name):
    return load_model(SQL_ROOT / "intermediate" / f"{name}.sql", "intermediate")


@settings(max_examples=examples(12), deadline=None)
@given(
    built=st.sets(st.integers(0, 5), min_size=1),
    asked=st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted),
)
def test_exactly_the_days_that_the_reader_has_are_built(built, asked):
    with fresh() as connection:
        staged(connection, "accounts", {"account_id": "A", "account_name": "a", "tenant_id": "t"})
        staged(
            connection,
            "subscriptions",
            {"subscription_id": "s", "account_id": "A", "started_at": "2026-01-01", "renews_at": RENEWAL},
        )
        usage = {"account_id": "varchar", "usage_date": "date", "user_id": "varchar", "feature": "varchar"}
        table(
            connection,
            "intermediate.int_usage_daily",
            [{"account_id": "A", "usage_date": date(2026, 6, 20), "user_id": "u", "events": 3, "logins": 0}],
            {**usage, "events": "bigint", "logins": "bigint"},
        )
        build_model(connection, model_of("int_account_spells"), PARAMETERS)
        for name in STEPS:
            for number in built:
                day = FIRST + timedelta(days=number)
                build_model(connection, model_of(name), PARAMETERS, (day, day))
        expected = connection.execute("from intermediate.int_review_periods order by all").fetchall()
        # The version before had no table of periods, and none of spells.
        connection.execute("drop table intermediate.int_account_spells")
        connection.execute("drop table intermediate.int_review_periods")
        connection.execute("delete from run.model_marks where model = 'intermediate.int_review_periods'")

        first, last = (FIRST + timedelta(days=number) for number in asked)
        build_new_inputs(DuckDbEngine(connection), model_of("int_review_usage"), PARAMETERS, (first, last))
        marks = connection.execute(
            "select as_of_date from run.model_marks where model = 'intermediate.int_review_periods'"
        ).fetchall()
        wanted = {FIRST + timedelta(days=number) for number in built if asked[0] <= number <= asked[1]}
        assert {day for (day,) in marks} == wanted
        if not wanted:
            return
        found = connection.execute("from intermediate.int_review_periods order by all").fetchall()
        assert found == [row for row in expected if row[2] in wanted]
