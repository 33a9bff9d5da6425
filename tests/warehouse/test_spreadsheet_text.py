"""Text that a spreadsheet would run is escaped in every CSV file, and numbers stay numbers."""

import csv
import io
import re

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from csm_core.analysts.queries import query_published
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.export import write_export
from csm_core.warehouse.models import literal
from csm_core.warehouse.spreadsheet_text import FORMULA_STARTS, escaped, escaped_sql, unescaped, unescaped_sql

TEXTS = st.text(st.sampled_from("=+-@\t\r'1.a ") | st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(TEXTS, min_size=1, max_size=20))
@example(["=1+1", "-5", "+49 30", "@x", "\t=1", "\r", "'=1", "''-5", "'", "", "a=1"])
def test_no_text_begins_like_a_formula_and_escaping_is_undone(texts):
    for text in texts:
        assert not escaped(text).startswith(FORMULA_STARTS)
        assert unescaped(escaped(text)) == text
        # Other text does not change.
        assert escaped(text) == (f"'{text}" if re.match(r"'*[=+@\t\r-]", text) else text)
    rows = ", ".join(f"({place}, {literal(text)})" for place, text in enumerate(texts))
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select escaped, {unescaped_sql('escaped')} from "
            f"(select place, {escaped_sql('text')} as escaped from (values {rows}) as t (place, text)) order by place"
        ).fetchall()
    assert found == [(escaped(text), text) for text in texts]


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.decimals())
def test_values_that_are_not_text_stay_as_they_are(value):
    assert escaped(value) is value


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "-5", "'=1"])
def test_an_export_escapes_text(tmp_path, text):
    with duckdb.connect() as connection:
        write_export(connection, [("value", literal(text))], "range(1)", tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["value"], [escaped(text)]]


def test_a_query_escapes_text_and_names_of_columns(tmp_path):
    warehouse = Warehouse(tmp_path / "csm.duckdb")
    warehouse.published_path.parent.mkdir()
    with duckdb.connect(warehouse.published_path) as connection:
        connection.execute("create schema marts")
    query = """select '=1+1' as "=name", '-5' as text, -5 as number, -0.5 as rate, null as nothing"""
    answer = query_published(warehouse, query, "csv")
    assert list(csv.reader(io.StringIO(answer))) == [
        ["'=name", "text", "number", "rate", "nothing"],
        ["'=1+1", "'-5", "-5", "-0.5", ""],
    ]
