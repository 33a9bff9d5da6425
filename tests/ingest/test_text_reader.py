"""Reading text with care: well-formed files come out exactly, and no line of any other gets lost."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from csm_core.ingest.text_reader import RejectedLine, Row, read_rows
from tests.examples import examples

VALUE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
WIDTH = 3
ANY_FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=examples(60), deadline=None, suppress_health_check=ANY_FIXTURE)
@given(
    rows=st.lists(st.lists(VALUE, min_size=WIDTH, max_size=WIDTH).filter(any), max_size=8),
    ends=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path, rows, ends, quoting):
    # Unquoted, a carriage return cannot be told from a line's end, and Python 3.11 leaves it unquoted.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in value for row in rows for value in row))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=ends, quoting=quoting)
    writer.writerows([["a", "b", "c"], *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    found = list(read_rows(path, WIDTH))
    assert [one.values for one in found if isinstance(one, Row)] == [tuple(v or None for v in row) for row in rows]
    assert all(isinstance(one, Row) for one in found)


@settings(max_examples=examples(80), deadline=None, suppress_health_check=ANY_FIXTURE)
@given(lines=st.lists(st.text(st.sampled_from('a1,"" \r\xe9'), max_size=9), max_size=12))
def test_every_line_is_in_a_record_or_refused(tmp_path, lines):
    path: Path = tmp_path / "b.csv"
    path.write_bytes("\n".join(["a,b,c", *lines, ""]).encode("latin-1"))
    found = list(read_rows(path, WIDTH))
    numbers = [one.line for one in found]
    assert numbers == sorted(set(numbers))
    covered: set[int] = set()
    for one in found:
        inside = sum((value or "").count("\n") for value in one.values) if isinstance(one, Row) else 0
        covered |= set(range(one.line, one.line + inside + 1))
    stated = {number for number, line in enumerate(lines, start=2) if line.strip("\r")}
    assert stated <= covered
    refused = {one.line: one.text for one in found if isinstance(one, RejectedLine)}
    for number, text in refused.items():
        assert text == lines[number - 2].rstrip("\r").replace("\xe9", "\\xe9")
