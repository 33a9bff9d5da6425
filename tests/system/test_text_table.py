"""Tables are aligned whatever their cells hold, and counts agree with their nouns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.system.text_table import counted, text_table

CELLS = st.text(st.characters(categories=["L", "N", "P"]), max_size=12)


@given(
    st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), max_size=8)),
    st.sets(st.integers(0, 4)),
)
def test_every_cell_is_in_its_column(rows, right):
    lines = text_table(rows, right=right)
    assert len(lines) == len(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, line in zip(rows, lines, strict=True):
        start = 0
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            place = start + (width - len(cell) if column in right else 0)
            assert line[place : place + len(cell)] == cell
            start += width + 2
        assert line == line.rstrip()


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (1, "page", "", "1 page"),
        (2, "page", "", "2 pages"),
        (0, "page", "", "0 pages"),
        (1_000, "row", "", "1,000 rows"),
        (1, "copy", "copies", "1 copy"),
        (2, "copy", "copies", "2 copies"),
        (0.5, "second", "", "0.5 seconds"),
        (1.0, "second", "", "1 second"),
    ],
)
def test_a_count_agrees_with_its_noun(count, noun, plural, text):
    assert counted(count, noun, plural) == text
