"""Spark validates every value as DuckDB does: adversarial values, and properties of generated ones."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.contract import Column, Entity, Kind
from csm_core.staging.casts import validate
from csm_core.warehouse.spark_functions import java_pattern
from tests.examples import examples

pytestmark = pytest.mark.slow

# Every kind of column of the contract. `again` are the columns of usage events once more, with their limits.
CHECKED = Entity(
    "checked",
    (
        Column("checked_id", required=True, identifier=True),
        Column("account_id", required=True, identifier=True),
        Column("label", default="none"),
        Column("level", levels=("positive", "GREEN", "ß")),
        Column("currency", currency=True),
        Column("quantity", Kind.INTEGER, minimum=0, maximum=1_000_000_000, default=1, ignored_at=0),
        Column("number", Kind.INTEGER, required=True),
        Column("amount", Kind.DECIMAL, minimum=-1_000_000, maximum=1_000_000),
        Column("happened_at", Kind.TIMESTAMP, required=True),
        Column("until", Kind.TIMESTAMP),
    ),
)
BLANKS = [" ", "\t", "\r", "\n", "\v", "\f", "\u00a0", "\ufeff"]
ODD = [
    "\u2028",
    "\u2029",
    "\u0085",
    "\u200b",
    "\u3000",
    "\x00",
    "\x1f",
    "\x7f",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "😀",
    "\\",
    "'",
]
BARE = [
    *("", "a", "A", "!", "~", '"', "%", "_", "null", "NULL", "NaN", "Infinity", "-inf", "true", "None", "$1", "\\1"),
    *("7", "7.0", "7.00", "07.0", "+7.0", "-7.0", "-0.0", "7.10", "7.", ".0", "7.0.0", "7e0", "1E2", "1_000", "1,000"),
    *("0", "-1", "+1", "--1", "+ 1", "0x10", "1.5", "0.5", "1000000000", "1000000001", "1000000000.0", "2147483648"),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
    ),
    *("9223372036854775807.000", "1.005", "1.015", "-1.005", "2.675", "0.125", "1e400", "123456789012345678.99"),
    *("9999999999999999.99", "9999999999999999.995", "1000000", "1000000.001", "1" * 50, "1." + "0" * 60, "٣", "１"),
    *("0." + "9" * 40, "00000000000000000000000000000000000000000000001", "1d", "1f", "5D", "1L"),
    *("positive", "POSITIVE", "Positive ", "green", "Green", "SS", "ß", "ẞ", "eur", "EUR", "EURO", "eu", "ıur", "ſek"),
]
DAYS = ["2026-06-01", "1900-01-01", "1899-12-31", "9999-12-31", "2024-02-29", "2025-02-29", "2026-13-01", "2026-6-1"]
DAYS += ["10000-01-01", "0001-01-01", "2026-06-31", "+2026-06-01", "20260601", "2026/06/01", "epoch", "now", "today"]
TIMES = ["", " 10:00", "T10:00", "T10:00:00", " 10:00:00", "t10:00:00", "  10:00:00", " 10", " 24:00:00", " 23:59:60"]
TIMES += ["T23:59:59", " 00:00:00", "T1:00:00", "T10:00:00.", "T10:00:00.1", "T10:00:00.123456", "T10:00:00.1234567"]
TIMES += ["T10:00:00.999999999", "T10:00:00.1234567890", "T23:59:59.999999999", "T10:00.5"]
OFFSETS = [
    "",
    "Z",
    "z",
    " Z",
    " UTC",
    "UTC",
    "+02",
    "+0230",
    "+02:30",
    "-02:30",
    " +02:00",
    " -0800",
    "+18:00",
    "+18:30",
]
OFFSETS += ["-18:59", "+19:00", "+2", "+02:60", "  Z", "GMT", " America/New_York", "+00:00:00", "-00", "[UTC]", "CET"]
ISO = [f"{day}{time}{offset}" for day in DAYS for time in TIMES for offset in OFFSETS]
TEXTS: list[str | None] = [
    None,
    *BARE,
    *ISO,
    *(f"{blank}{text}" for blank in [*BLANKS, *ODD] for text in ("", "x", "7.0", "2026-06-01")),
    *(
        f"{text}{blank}"
        for blank in [*BLANKS, *ODD]
        for text in ("x", "7.0", "7", "2026-06-01", "2026-06-01T10:00:00Z", "EUR")
    ),
    *("a" + blank + "b" for blank in [*BLANKS, *ODD]),
    *("x" * length for length in (999, 1000, 1001)),
    *("😀" * length for length in (999, 1000, 1001)),
    "7.0" + "0" * 2000,
]
_TIMES = [
    *map(
        datetime.fromisoformat, ("1900-01-01", "1899-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999", "0001-01-01")
    ),
    datetime.fromisoformat("2026-06-01T10:00:00.123456"),
    None,
]
_FLOATS = [0.0, -0.0, 1.0, 1.5, -1.0, 2.0**24, 2.0**24 - 1, 1e9, 1e10, float("nan"), float("inf"), float("-inf"), None]
TYPED: dict[str, list[object]] = {
    "BOOLEAN": [True, False, None],
    "TINYINT": [0, 1, -128, 127, None],
    "SMALLINT": [0, -1, 32767, None],
    "INTEGER": [0, -1, 2**31 - 1, 10**9, 10**9 + 1, None],
    "BIGINT": [0, -1, 2**63 - 1, -(2**63), 10**9, 10**9 + 1, 10**17, None],
    "FLOAT": _FLOATS,
    "DOUBLE": [*_FLOATS, 2.0**53, 2.0**53 - 1, 1e15 + 0.5, 1e18, 9.3e18, -9.3e18, 1e300, 5e-324, 0.1, 123.456],
    "DECIMAL(18,4)": [
        Decimal(0),
        Decimal(1),
        Decimal("-1.5"),
        Decimal("0.0050"),
        Decimal("99999999999999.9999"),
        None,
    ],
    "DECIMAL(38,0)": [Decimal(10**37), Decimal(-(10**37)), Decimal(5), Decimal(2**63), None],
    "DATE": [date(1900, 1, 1), date(1899, 12, 31), date(9999, 12, 31), date(2026, 6, 1), None],
    "TIMESTAMP": list(_TIMES),
    "TIMESTAMP WITH TIME ZONE": [one and one.replace(tzinfo=UTC) for one in _TIMES],
}
# The text of these values differs, and a floating point number with many digits is rounded to another cent. Columns of
# usage events show this only in the text of a rejected value, and in identifiers that are times.
DIFFERENT = {
    "FLOAT": ("_value", "currency", "amount"),
    "DOUBLE": ("_value", "currency", "amount"),
    "TIMESTAMP WITH TIME ZONE": ("_value", "checked_id", "account_id", "label"),
}


class Both:
    """DuckDB and Spark, which validate the same Parquet file."""

    def __init__(self, session, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._files = 0
        self.duckdb = duckdb.connect()
        self.duckdb.execute("set timezone = 'UTC'")
        self.duckdb.execute("create schema staging")
        self.duckdb.execute("create table staging.stg_accounts as select 'x' as account_id union all select '7'")
        accounts = self.duckdb.sql("from staging.stg_accounts").to_arrow_table()
        session.hand_over("staging.stg_accounts", accounts, {"account_id": "VARCHAR"})

    def validated(self, kind: str, values: list) -> tuple[list[dict], list[dict]]:
        """The rows of both for records of which every column has the value; every column has the type."""
        columns = [*CHECKED.column_names, "_version"]
        self._files += 1
        file = self._folder / f"values_{self._files}.parquet"
        given_values = pyarrow.table({"place": list(range(len(values))), "value": pyarrow.array(values)})
        self.duckdb.register("given_values", given_values)
        self.duckdb.execute(
            f"create or replace table value_list as select place, cast(value as {kind}) as value from given_values"
        )
        # Each column in turn has the value, so that one reason does not hide another; the others have a valid one.
        valid = dict.fromkeys(columns, "null")
        if kind == "VARCHAR":
            valid |= {"checked_id": "'k'", "account_id": "'x'", "number": "'1'", "happened_at": "'2026-06-01'"}
        selects = [
            f"select place * {len(columns) + 1} + {turn} as place, "
            + ", ".join(
                f"{'value' if turn in (number, len(columns)) else valid[name]} as {name}"
                for number, name in enumerate(columns)
            )
            + " from value_list"
            for turn in range(len(columns) + 1)
        ]
        typed = ", ".join(f"cast({name} as {kind}) as {name}" for name in columns)
        rows = f"select place, {typed} from ({' union all '.join(selects)}) order by place"
        self.duckdb.execute(f"copy ({rows}) to '{file}' (format parquet)")
        types = self._session.show_source("source.checked", path=str(file))
        assert {types[name] for name in columns} == {kind}
        listed = ", ".join(columns)
        bookkeeping = "null::timestamp as _loaded_at, null::bigint as _load_id"
        model = f"select {listed}, 'f' as _source_file, place as _source_line, {bookkeeping} from {{}}"
        own, theirs = (
            validate(CHECKED, model.format(table), types, "spark").sql + " order by _source_line"
            for table in (f"read_parquet('{file}')", "source.checked")
        )
        return self.duckdb.sql(own).to_arrow_table().to_pylist(), self._session.query(theirs, {}).to_pylist()


@pytest.fixture(scope="module")
def both(spark, tmp_path_factory):
    return Both(spark, tmp_path_factory.mktemp("values"))


def differences(both: Both, kind: str, values: list, ignored: tuple[str, ...] = ()) -> list:
    own, theirs = both.validated(kind, values)
    assert len(own) == len(theirs) == len(values) * (len(CHECKED.columns) + 2)
    turns = len(CHECKED.columns) + 2
    return [
        (values[one["_source_line"] // turns], {name: (one[name], two[name]) for name in one if one[name] != two[name]})
        for one, two in zip(own, theirs, strict=True)
        if any(one[name] != two[name] for name in one if name not in ignored)
    ]


def test_texts(both):
    found = differences(both, "VARCHAR", TEXTS)
    assert not found, f"{len(found)} differ: {found[:20]}"


@pytest.mark.parametrize("kind", TYPED)
def test_typed_values(both, kind):
    found = differences(both, kind, TYPED[kind], DIFFERENT.get(kind, ()))
    assert not found, f"{len(found)} differ: {found[:20]}"


def pieces(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


DIGITS = st.text("0123456789", min_size=1, max_size=25)
NUMBERS = st.builds(
    "{}{}{}{}".format, pieces("", "+", "-"), DIGITS, pieces("", ".0", ".", ".50", ".005"), pieces("", "0", "e1")
)
MOMENTS = st.builds(
    "{:%Y-%m-%d}{}{:%H:%M:%S}{}{}".format,
    st.datetimes(datetime.fromisoformat("1000-01-01")),
    pieces("T", " ", "  ", "t"),
    st.datetimes(),
    st.one_of(pieces(""), st.builds(".{}".format, DIGITS)),
    st.sampled_from(OFFSETS),
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PADDED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", *BLANKS, *ODD]),
    st.one_of(NUMBERS, MOMENTS, ANY, pieces(*BARE)),
    st.sampled_from(["", *BLANKS, *ODD]),
)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.one_of(PADDED, MOMENTS, NUMBERS), min_size=100, max_size=300))
def test_any_text(both, values):
    found = differences(both, "VARCHAR", values)
    assert not found, f"{len(found)} differ: {found[:20]}"


@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.one_of(st.floats(), st.integers(-(2**53), 2**53).map(float)), min_size=50, max_size=200))
def test_any_double(both, values):
    found = differences(both, "DOUBLE", values, DIFFERENT["DOUBLE"])
    assert not found, f"{len(found)} differ: {found[:20]}"


@pytest.mark.parametrize(
    ("pattern", "java"), [("^a.$", r"^a[^\n]\z"), (r"\$[$.]\.", r"\$[$.]\."), (r"[\]$]$", r"[\]$]\z")]
)
def test_patterns(pattern, java):
    assert java_pattern(pattern) == java
