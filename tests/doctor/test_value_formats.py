"""The settings that are suggested for dates, numbers and nulls of another form."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.doctor.value_formats import date_formats, decimal_marks, null_texts

FORMATS = [
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%Y/%m/%d",
    "%d %b %Y",
]
CONNECTION = duckdb.connect()
EARLIEST, LATEST = datetime(1970, 1, 1), datetime(2099, 12, 31)  # noqa: DTZ001  # as texts without an offset
TIMES = st.lists(st.datetimes(EARLIEST, LATEST), min_size=1, max_size=10)


@given(form=st.sampled_from(FORMATS), times=TIMES)
def test_the_format_that_wrote_the_dates_is_among_those_suggested(form, times):
    texts = [time.strftime(form) for time in times]
    found = date_formats(CONNECTION, texts)
    assert form in found
    # Every format that is suggested reads every text.
    for other in found:
        for text in texts:
            datetime.strptime(text, other)  # noqa: DTZ007  # only whether it parses


@pytest.mark.parametrize(
    ("values", "formats"),
    [
        (["31/12/2025", "01/02/2026"], ["%d/%m/%Y"]),
        (["01/02/2026"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["12/31/2025 11:59 PM"], ["%m/%d/%Y %I:%M %p"]),
        (["31.12.2025", "1.1.2026"], ["%d.%m.%Y"]),
        (["2026-06-30 18:00:00 UTC"], []),
        (["31/12/2025"] * 9 + ["n/a"], ["%d/%m/%Y"]),
        (["last week", "soon"], []),
        (["1767225600"], []),
        ([""], []),
        ([], []),
    ],
)
def test_formats_of_dates(values, formats):
    assert date_formats(CONNECTION, values) == formats


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        (["$1,000.00"], ["."]),
        (["1.000,00 €"], [","]),
        (["1 250,50"], [","]),
        (["1,000"], [".", ","]),
        (["1,000", "1,5"], [","]),
        (["(12,50)"], [","]),
        (["12.50-"], ["."]),
        (["EUR 12.50"], ["."]),
        (["ten"], []),
        (["1,00,000"], []),
        ([], []),
    ],
)
def test_marks_of_decimals(values, marks):
    assert decimal_marks(CONNECTION, values) == marks


def test_texts_for_null():
    assert null_texts(["?", "NaN", "n/a", "12", "NULLS"]) == ["?", "NaN", "n/a"]
