"""The vectorised scorer against the scalar one, bit for bit, over frames of every kind; refusals; the SQL itself."""

import dataclasses
import math
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import SignalError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import CHURN_RISKS, FIELDS, MAX_INTEGER, RAGS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthSignals
from csm_core.scoring.sql import (
    ENUM,
    POINT_COLUMNS,
    RESULT_COLUMNS,
    TEXT,
    LiteralEncoding,
    invalid_rows_sql,
    scoring_sql,
)
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer
from tests.examples import examples
from tests.scoring_cases import (
    BEST,
    MIDDLE,
    POLICIES,
    ROWS,
    WORST,
    boundary_rows,
    expected,
    frame_of,
    null_rows,
    pair_rows,
    same,
    scalar,
)


def scored_differently(rows: list[dict[str, Any]], **policy: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows, with what was found, that the scalar scorer or the written-down rule scores in another way."""
    scored = VectorizedCSMHealthScorer(**policy).score_frame(frame_of(rows))
    assert list(scored.columns) == ["account_id", *RESULT_COLUMNS, *POINT_COLUMNS]
    return [
        (row, found)
        for row, found in zip(rows, records(scored), strict=True)
        if not (same(found, scalar(row, **policy)) and same(found, expected(row, **policy)))
    ]


def records(scored: pd.DataFrame) -> list[dict[str, Any]]:
    plain = scored.astype(dict.fromkeys(("rag", "churn_risk_level", "churn_triggered_by"), object))
    return plain.where(plain.notna(), None).to_dict("records")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_boundary_of_every_signal(policy):
    assert scored_differently(boundary_rows(), **policy) == []


def test_every_pair_of_boundaries():
    assert scored_differently(pair_rows()) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_every_pattern_of_nulls(policy):
    assert scored_differently(null_rows(), **policy) == []


@settings(max_examples=examples(60), deadline=None)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=20),
    amber=st.floats(0, 60),
    gap=st.floats(0.5, 39),
    window=st.integers(0, 400),
)
def test_any_row_under_any_policy(rows, amber, gap, window):
    assert scored_differently(rows, green_threshold=amber + gap, amber_threshold=amber, churn_window_days=window) == []


# -- refusals -------------------------------------------------------------------------------------------------------

OUTSIDE = [
    ("feature_adoption_rate", -0.01),
    ("feature_adoption_rate", 1.0000001),
    ("feature_adoption_rate", math.nan),
    ("feature_adoption_rate", math.inf),
    ("feature_adoption_rate", -math.inf),
    ("feature_adoption_rate", None),
    ("feature_adoption_rate", Decimal("1.01")),
    ("open_ticket_count", math.nan),
    ("escalation_count_90_days", math.inf),
    ("nps_score", -math.inf),
    ("stakeholder_engagement", math.nan),
    ("nps_score", "nine"),
    ("seats_utilization_rate", True),
    ("usage_trend", "rising"),
    ("usage_trend", None),
    ("usage_trend", "Growing"),
    ("login_frequency_days", -1),
    ("days_since_last_interaction", 2.5),
    ("invoice_payment_status", "overdue"),
    ("support_sentiment", None),
    ("open_ticket_count", -1),
    ("open_ticket_count", None),
    ("days_to_renewal", math.inf),
    ("seats_utilization_rate", 2.01),
    ("seats_utilization_rate", None),
    ("stakeholder_engagement", ""),
    ("nps_score", 11),
    ("nps_score", -1),
    ("escalation_count_90_days", -1),
    ("tam_health_rag", "YELLOW"),
    ("usage_trend", 7),
    ("open_ticket_count", 2**63),
    ("days_to_renewal", -(2**63)),
    ("login_frequency_days", 1e300),
]


@pytest.mark.parametrize(("field", "value"), OUTSIDE)
def test_a_row_outside_the_contract_is_refused_by_both_naming_account_and_field(field, value):
    with pytest.raises(SignalError, match=rf"^account 'bad-one': {field}: .*\(found "):
        CSMHealthScorer().score_record({**BEST, field: value}, "bad-one")
    frame = pd.DataFrame([BEST, {**BEST, field: value}]).assign(account_id=["good", "bad-one"])
    before = frame.copy(deep=True)
    with pytest.raises(SignalError, match=rf"^account 'bad-one': {field} "):
        VectorizedCSMHealthScorer().score_frame(frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("field", ["account_id", *(field.name for field in FIELDS if field.required)])
def test_a_missing_column_is_named(field):
    with pytest.raises(SignalError, match=rf"lacks {field}"):
        VectorizedCSMHealthScorer().score_frame(frame_of([BEST]).drop(columns=field))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("open_ticket_count", ["1", "2"]),
        ("open_ticket_count", [True, False]),
        ("feature_adoption_rate", pd.to_datetime(["2026-01-01", "2026-01-02"])),
        ("nps_score", ["nine", None]),
        ("seats_utilization_rate", pd.Categorical(["0.5", "0.6"])),
        ("escalation_count_90_days", [1j, 2j]),
        ("login_frequency_days", pd.to_timedelta([1, 2], unit="D")),
        ("open_ticket_count", pd.array([True, None], dtype="boolean")),
        ("open_ticket_count", pd.Series([True, False], dtype="bool[pyarrow]")),
        ("nps_score", pd.Series(["9", None], dtype="string[pyarrow]")),
        ("nps_score", pd.array([None, None], dtype="boolean")),
    ],
)
def test_a_column_of_the_wrong_type_is_refused(field, values):
    frame = frame_of([BEST, WORST])
    frame[field] = values
    with pytest.raises(SignalError, match=rf"{field}.*expected numbers"):
        VectorizedCSMHealthScorer().score_frame(frame)


def test_a_level_column_of_lists_is_refused():
    frame = frame_of([BEST, WORST])
    frame["usage_trend"] = [["growing"], ["stable"]]
    with pytest.raises(SignalError, match=r"usage_trend.*'A0'"):
        VectorizedCSMHealthScorer().score_frame(frame)


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("nps_score", [5, 12, 13], "account 'A1': nps_score is out of range: 12 (2 such rows)"),
        ("nps_score", [5, 12, 9], "account 'A1': nps_score is out of range: 12"),
        ("nps_score", [5.5, 1.5, 9], "account 'A0': nps_score is not an integer: 5.5 (2 such rows)"),
        ("nps_score", [5, 1.5, 9], "account 'A1': nps_score is not an integer: 1.5"),
        (
            "seats_utilization_rate",
            [0.5, math.inf, 1],
            "account 'A1': seats_utilization_rate is not a finite number: inf",
        ),
        (
            "nps_score",
            pd.Series([5, 1.5, 9], dtype=object),
            "account 'A1': nps_score is not an integer: 1.5",
        ),
        ("seats_utilization_rate", [0, 3, 1], "account 'A1': seats_utilization_rate is out of range: 3.0"),
        ("nps_score", [5, "nine", 9], "account 'A1': nps_score is not a number: 'nine'"),
        (
            "support_sentiment",
            pd.Series(["neutral", None, None], dtype=object),
            "account 'A1': support_sentiment is missing: None (2 such rows)",
        ),
        (
            "days_to_renewal",
            [7.0, 2.0**63, -(2.0**64)],
            "account 'A1': days_to_renewal is out of range: 9.223372036854776e+18 (2 such rows)",
        ),
        (
            "days_to_renewal",
            pd.Series([MAX_INTEGER, 2**63, -(2**63) - 1], dtype=object),
            "account 'A1': days_to_renewal is out of range: 9223372036854775808 (2 such rows)",
        ),
        (
            "days_to_renewal",
            pd.Series([None, 7, 2**64], dtype=object),
            "account 'A2': days_to_renewal is out of range: 18446744073709551616",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_refusal_counts_the_rows_and_names_the_first(field, values, said):
    frame = frame_of([BEST, WORST, WORST]).assign(**{field: values})
    with pytest.raises(SignalError) as caught:
        VectorizedCSMHealthScorer().score_frame(frame)
    assert str(caught.value) == said


def test_a_misnamed_and_a_doubled_column_are_told():
    frame = frame_of([BEST])
    with pytest.raises(SignalError, match=r"lacks usage_trend \(is it 'usage_trent'\?\); it has account_id, "):
        VectorizedCSMHealthScorer().score_frame(frame.rename(columns={"usage_trend": "usage_trent"}))
    with pytest.raises(SignalError, match="has no nps_score, but a similar column 'nps_scores'"):
        VectorizedCSMHealthScorer().score_frame(frame.rename(columns={"nps_score": "nps_scores"}))
    doubled = pd.concat([frame, frame[["nps_score"]]], axis=1)
    with pytest.raises(SignalError, match="more than once: nps_score"):
        VectorizedCSMHealthScorer().score_frame(doubled)


def test_duplicate_keys_are_refused_unless_days_or_tenants_tell_them_apart():
    frame = frame_of([BEST, WORST]).assign(account_id="same")
    with pytest.raises(SignalError, match="'same' appears more than once"):
        VectorizedCSMHealthScorer().score_frame(frame)
    dated = frame.assign(as_of_date=pd.to_datetime(["2026-01-01", "2026-01-02"]))
    assert len(VectorizedCSMHealthScorer().score_frame(dated)) == 2
    assert len(VectorizedCSMHealthScorer().score_frame(frame.assign(tenant_id=["north", "south"]))) == 2
    with pytest.raises(SignalError, match=r"'same' appears more than once .*tenant_id"):
        VectorizedCSMHealthScorer().score_frame(frame.assign(tenant_id="north"))


def test_a_missing_account_id_is_refused():
    with pytest.raises(SignalError, match="no account_id"):
        VectorizedCSMHealthScorer().score_frame(frame_of([BEST, WORST]).assign(account_id=["A", None]))


# -- kinds of frames ------------------------------------------------------------------------------------------------

LEVELS = [field.name for field in FIELDS if field.levels]
NUMBERS = [field.name for field in FIELDS if not field.levels]
ROWS_OF_ALL_KINDS = [BEST, WORST, {**WORST, "nps_score": None, "days_to_renewal": None, "tam_health_rag": "RED"}]


def as_object(frame):
    return frame.astype(object).where(frame.notna(), None)


def as_categorical(frame):
    return frame.astype(dict.fromkeys(LEVELS, "category"))


def as_float(frame):
    return frame.astype(dict.fromkeys(NUMBERS, "float64"))


def as_arrow(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def as_nullable(frame):
    return frame.convert_dtypes()


def as_objects_with_na(frame):
    return frame.astype(object).where(frame.notna(), pd.NA)


def as_categories_of_numbers(frame):
    return frame.astype(dict.fromkeys((*LEVELS, *NUMBERS), "category"))


def as_decimals(frame):
    return frame.assign(
        **{name: [None if pd.isna(value) else Decimal(str(value)) for value in frame[name]] for name in NUMBERS}
    )


def as_arrow_dictionaries(frame):
    kind = pd.ArrowDtype(pa.dictionary(pa.int8(), pa.large_string()))
    return frame.assign(
        **{name: frame[name].astype(object).where(frame[name].notna(), None).astype(kind) for name in LEVELS}
    )


KINDS = [
    *(as_object, as_objects_with_na, as_categorical, as_categories_of_numbers, as_float),
    *(as_decimals, as_arrow, as_arrow_dictionaries, as_nullable),
]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_columns_score_the_same_and_are_not_changed(kind):
    plain = frame_of(ROWS_OF_ALL_KINDS)
    frame = kind(plain)
    before = frame.copy(deep=True)
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(
        scored.assign(account_id=list(scored["account_id"])),
        VectorizedCSMHealthScorer().score_frame(plain).assign(account_id=list(plain["account_id"])),
    )


def test_a_column_of_nothing_but_nulls_is_unknown_whatever_its_type():
    frame = frame_of([BEST, WORST])
    nullable = [field.name for field in FIELDS if field.nullable]
    rows = [{**row, **dict.fromkeys(nullable)} for row in (BEST, WORST)]
    for kind in ("null[pyarrow]", object):
        nulls = frame.assign(**dict.fromkeys(nullable, pd.Series([None, None], dtype=kind)))
        for found, row in zip(records(VectorizedCSMHealthScorer().score_frame(nulls)), rows, strict=True):
            assert same(found, expected(row))
    with pytest.raises(SignalError, match="account 'A0': open_ticket_count is missing"):
        VectorizedCSMHealthScorer().score_frame(
            frame.assign(open_ticket_count=pd.Series([None, None], dtype="null[pyarrow]"))
        )


def test_order_and_index_are_the_inputs():
    rows = [{**BEST, "feature_adoption_rate": number / 5000} for number in range(5000)]
    frame = frame_of(rows).sample(frac=1, random_state=3)
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    assert list(scored["account_id"]) == list(frame["account_id"])
    assert list(scored.index) == list(frame.index)
    assert np.array_equal(scored["feature_adoption_rate_points"], 20.0 * frame["feature_adoption_rate"].to_numpy())


@pytest.mark.parametrize("kind", [lambda frame: frame, *KINDS])
def test_an_empty_frame_gives_an_empty_frame_of_the_same_columns(kind):
    full = VectorizedCSMHealthScorer().score_frame(frame_of([BEST]))
    empty = VectorizedCSMHealthScorer().score_frame(kind(frame_of([BEST]).iloc[:0]))
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    assert [str(kind) for kind in empty.dtypes[1:]] == [str(kind) for kind in full.dtypes[1:]]


def test_optional_columns_may_be_left_out_and_the_alias_is_taken():
    required = ["account_id", *(field.name for field in FIELDS if field.required)]
    frame = frame_of([BEST])[required]
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    signals = CSMHealthSignals(**{name: BEST[name] for name in required[1:]})
    assert scored["score"].iloc[0] == CSMHealthScorer().score(signals).score
    aliased = frame.assign(avg_ticket_sentiment="critical")
    assert VectorizedCSMHealthScorer().score_frame(aliased)["support_sentiment_points"].iloc[0] == 0.0
    assert CSMHealthSignals(**{**BEST, "support_sentiment": "critical"}) == CSMHealthSignals(
        **{name: value for name, value in BEST.items() if name != "support_sentiment"}, avg_ticket_sentiment="critical"
    )
    with pytest.raises(SignalError, match="are the same input"):
        VectorizedCSMHealthScorer().score_frame(aliased.assign(support_sentiment="neutral"))


def test_the_sql_scores_a_table_in_the_warehouse():
    with duckdb.connect() as connection:
        connection.register("frame", frame_of([BEST, WORST]))
        connection.execute("create table signals as from frame")
        found = connection.execute(VectorizedCSMHealthScorer().sql("signals") + " order by account_id").fetchall()
    assert [row[:4] for row in found] == [("A0", 98.0, 98.0, "GREEN"), ("A1", 8.0, 8.0, "RED")]


@pytest.mark.parametrize("value", [MAX_INTEGER, 2**53 + 1])
@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "int64[pyarrow]", object])
def test_the_largest_whole_numbers_are_kept(value, dtype):
    frame = frame_of([BEST])
    frame["days_to_renewal"] = pd.Series([value], dtype=dtype)
    assert VectorizedCSMHealthScorer().score_frame(frame)["days_to_renewal_points"].iloc[0] == 10.0


@pytest.mark.parametrize("dtype", ["UInt64", "uint64[pyarrow]", "UInt8"])
def test_unsigned_numbers_may_be_missing(dtype):
    rows = [{**BEST, "nps_score": value} for value in (None, 9, 0)]
    scored = VectorizedCSMHealthScorer().score_frame(frame_of(rows).astype({"nps_score": dtype}))
    for found, row in zip(records(scored), rows, strict=True):
        assert same(found, expected(row))


def test_the_sqls_policy_is_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        scoring_sql("signals", "75.0", "50.0", "10", ("account_id",))


def test_the_result_shares_no_memory_with_the_frame():
    frame = frame_of([BEST, WORST]).astype({"account_id": object})
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    scored.loc[0, "account_id"] = "other"
    assert list(frame["account_id"]) == ["A0", "A1"]
    assert not np.shares_memory(scored["account_id"].array.to_numpy(), frame["account_id"].array.to_numpy())


# -- the SQL --------------------------------------------------------------------------------------------------------


def scored_by_sql(rows: list[dict[str, Any]], **more: str | LiteralEncoding) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.register("frame", frame_of(rows))
        connection.execute("create table signals as select *, 75.0 as green, 50.0 as amber, 10 as days from frame")
        expressions = {"green": "green", "amber": "amber", "churn_window_days": "days", **more}
        cursor = connection.execute(scoring_sql("signals", keys=("account_id",), **expressions) + " order by all")
        names = [name for name, *_ in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_thresholds_may_be_columns_of_the_row():
    rows = [*boundary_rows()[:9], WORST]
    found = {row.pop("account_id"): row for row in scored_by_sql(rows)}
    for number, row in enumerate(rows):
        wanted = expected(row, green_threshold=75.0, amber_threshold=50.0, churn_window_days=10)
        assert same(found[f"A{number}"], wanted)
        assert list(found[f"A{number}"]) == [*RESULT_COLUMNS, *POINT_COLUMNS]


def test_levels_as_text_and_as_enum_are_the_same_rows():
    rows = boundary_rows()
    assert scored_by_sql(rows, encoding=TEXT) == scored_by_sql(rows)


@pytest.mark.parametrize("written", [TEXT, ENUM])
def test_ways_of_writing_levels_do_not_change(written):
    with pytest.raises(dataclasses.FrozenInstanceError):
        written.rag = str


def test_levels_sort_from_the_best_to_the_worst_and_compare_with_any_text():
    with duckdb.connect() as connection:
        connection.register("signals", frame_of([WORST, BEST, MIDDLE]))
        connection.execute(f"create table scored as {VectorizedCSMHealthScorer().sql('signals')}")
        assert [rag for (rag,) in connection.execute("select rag from scored order by rag").fetchall()] == list(RAGS)
        (worst,) = connection.execute("select max(churn_risk_level) from scored").fetchone()
        assert worst == CHURN_RISKS[-1]
        asked = "select coalesce(churn_triggered_by, 'none') from scored where rag not in ('RED', 'no such level')"
        assert set(connection.execute(asked).fetchall()) == {("none",)}


def test_points_leave_the_warehouse_as_doubles():
    with duckdb.connect() as connection:
        connection.register("signals", frame_of([BEST]))
        kinds = dict(
            row[:2] for row in connection.execute(f"describe {VectorizedCSMHealthScorer().sql('signals')}").fetchall()
        )
    assert {kinds[name] for name in (*POINT_COLUMNS, "score", "raw_score")} == {"DOUBLE"}


@pytest.mark.parametrize(
    "sql",
    [
        scoring_sql(
            "signals", green="green", amber="amber", churn_window_days="days", keys=("account_id",), encoding=TEXT
        ),
        invalid_rows_sql("signals", ("account_id",)),
    ],
    ids=["scoring", "refusal"],
)
def test_the_sql_can_run_on_spark(sql):
    (spark,) = sqlglot.transpile(sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    assert "DECIMAL" not in spark.upper()
    assert " 0.85" not in spark.replace("CAST(0.85 AS DOUBLE)", "")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_refusal_names_the_first_field_outside_the_contract(field):
    ends = list(field.levels) if field.levels else [field.minimum, field.maximum]
    bad: list[Any] = [None] if not field.nullable else []
    if field.levels:
        bad += ["", "GREENISH", field.levels[0].swapcase()]
    elif field.kind == "rate":
        bad += [math.nan, math.inf, -math.inf, math.nextafter(field.minimum, -1), math.nextafter(field.maximum, 9)]
    else:
        bad += [field.minimum - 1, field.maximum + 1]
    kind = {"rate": "double", "integer": "hugeint", "level": "varchar"}[field.kind]
    with duckdb.connect() as connection:
        connection.register("frame", frame_of([BEST]))
        for values, wanted in ((ends + ([None] if field.nullable else []), []), (bad, [field.name])):
            for value in values:
                source = f"(select * replace (cast(? as {kind}) as {field.name}) from frame)"
                found = connection.execute(invalid_rows_sql(source, ("account_id",)), [value]).fetchall()
                assert [row[1] for row in found] == wanted, value
                if wanted and field.levels:
                    assert found[0][2] == value


def test_a_row_with_two_faults_is_refused_once():
    with duckdb.connect() as connection:
        connection.register("frame", frame_of([BEST]).assign(usage_trend="up", nps_score=99))
        assert connection.execute(invalid_rows_sql("frame", ("account_id",))).fetchall() == [
            ("A0", "usage_trend", "up")
        ]
    assert SIGNAL_NAMES.index("usage_trend") < SIGNAL_NAMES.index("nps_score")
