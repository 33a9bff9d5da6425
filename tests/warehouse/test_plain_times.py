"""The short way of reading the form of nearly all times gives what the long way gives."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.warehouse.text_macros import create_macros
from tests.examples import examples

two = st.integers(0, 99).map("{:02}".format)
dates = st.tuples(st.sampled_from(("1899", "1900", "2024", "2026", "9999")), two, two).map("-".join)
clocks = st.tuples(two, two, two).map(":".join)
fractions = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True))


@pytest.mark.parametrize("macro", ["utc_time", "vendor_time"])
def test_utc_is_the_same_whether_it_is_stated_by_a_letter_an_offset_or_not_at_all(macro):
    with duckdb.connect() as connection:
        create_macros(connection)

        @settings(max_examples=examples(300), deadline=None)
        @given(dates, st.sampled_from("T "), clocks, fractions)
        def check(date, separator, clock, fraction):
            text = f"{date}{separator}{clock}{fraction}"
            found = connection.execute(
                f"select {macro}(?), {macro}(?), {macro}(?), try_cast(? as timestamp)",
                [text, f"{text}Z", f"{text}+00:00", f"{text[:26]}"],
            ).fetchone()
            assert found is not None
            assert found[0] == found[1] == found[2]
            assert found[0] in (None, found[3])
            if date.startswith("20") and clock < "24" and found[3]:
                assert found[0] == found[3]

        check()
