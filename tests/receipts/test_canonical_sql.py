"""The canonical JSON of the engine is that of Python, byte for byte."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.receipts import canonical_sql as json_sql
from csm_core.receipts.standalone import canonical, hex_float, sha256
from tests.examples import examples

# The gate rejects earlier times.
FIRST = datetime.fromisoformat("1900-01-01")
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as one:
        yield one


@settings(max_examples=examples(400))
@given(
    st.none() | TEXTS,
    st.none() | DOUBLES,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.dates(date(1900, 1, 1), date(9999, 12, 31)),
    st.none() | st.datetimes(min_value=FIRST, timezones=st.just(UTC)),
    st.none() | st.decimals(Decimal("-1e12"), Decimal("1e12"), places=2),
)
def test_engine_and_python_write_the_same_text(connection, text, double, whole, flag, day, moment, amount):
    fields = {
        "text": json_sql.text("$text"),
        "nested": {
            "double": json_sql.number("cast($double as double)"),
            "hex": json_sql.hex_float("cast($double as double)"),
            "whole": json_sql.number("cast($whole as bigint)"),
        },
        "day": json_sql.plain_text("cast($day as date)"),
        "flag": json_sql.number("cast($flag as boolean)"),
        "it's": json_sql.utc_time("cast($moment as timestamp)"),
        "amount": json_sql.plain_text("cast($amount as decimal(18, 2))"),
    }
    values = {
        "text": text,
        "double": double,
        "whole": whole,
        "flag": flag,
        "day": day,
        "moment": moment and moment.replace(tzinfo=None),
    }
    (written, digest) = connection.execute(
        f"select document, sha256(document) from (select {json_sql.document(fields)} as document)",
        {**values, "amount": None if amount is None else str(amount)},
    ).fetchone()
    expected = canonical(
        {
            "text": text,
            "nested": {"double": double, "hex": None if double is None else hex_float(double), "whole": whole},
            "day": day and day.isoformat(),
            "flag": flag,
            "it's": moment and f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
            "amount": None if amount is None else f"{abs(amount) if amount == 0 else amount:.2f}",
        }
    )
    assert written == expected
    assert digest == sha256(expected)


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, 100.0, 1 / 3, 5e-324, math.nextafter(1.0, 0.0), 1e22, 1e-5])
def test_the_bits_of_a_double_can_be_read_back(number):
    assert float.fromhex(hex_float(number)).hex() == number.hex()
