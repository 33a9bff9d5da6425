"""What the settings of the source files say of names, separators, dates, numbers and nulls."""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from csm_core.errors import SourceError
from csm_core.ingest import text_loader
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.read_settings import NULL_VALUES, Reading
from csm_core.ingest.read_settings_sql import iso_time, plain_number
from csm_core.ingest.source_files import describe_file
from csm_core.ingest.text_files import scanned
from csm_core.ingest.text_reader import Row, read_rows
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import create_macros
from tests.examples import examples
from tests.source_loads import SilentLog, new_source_loads

HEADER = "invoice_id,account_id,amount_due,issued_at\n"
FIXTURE = [HealthCheck.function_scoped_fixture]


def load(source_loads, **said: Any):
    source_loads.now += timedelta(hours=1)
    source = FilesSettings.model_validate({"system": "files", "path": source_loads.folder, **said})
    results = get_system("files").load(
        source_loads.connection,
        [source],
        loaded_at=source_loads.now,
        folder=source_loads.folder.parent / "s",
        log=source_loads.log,
    )
    return {result.table: result for result in results}


def value(sql: str) -> object:
    with duckdb.connect() as connection:
        row = connection.execute(f"select {sql}").fetchone()
        assert row
        return row[0]


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_columns_are_taken_from_the_names_that_files_have(source_loads, form):
    source_loads.write_company()
    path = source_loads.write(
        "invoices/1.csv", "ID,Customer,Betrag,Created Date,invoice_id\ni1,a1,10,2026-06-01,other\n"
    )
    if form != "csv":
        source_loads.connection.execute(f"copy (from '{path}') to '{path.with_suffix(f'.{form}')}' (format {form})")
        path.unlink()
    said = {"invoice_id": "id", "account_id": "customer", "issued_at": "CREATED-DATE", "amount_due": "Betrag"}
    load(source_loads, columns={"invoices": said})
    assert source_loads.rows(
        "select invoice_id, account_id, amount_due::varchar, issued_at::varchar, invoice_id__original "
        "from raw.files__invoices"
    ) == [("i1", "a1", "10", "2026-06-01", "other")]


def test_one_column_may_be_two_of_the_contract(source_loads):
    source_loads.write_company(accounts="account_id,Region\na1,EU\n")
    load(source_loads, columns={"accounts": {"account_name": "account_id", "segment": "region", "tenant_id": "region"}})
    assert source_loads.rows("select account_id, account_name, segment, tenant_id from raw.files__accounts") == [
        ("a1", "a1", "EU", "EU")
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("accounts.csv", "account_id,Nmae\na1,x\n"), ("accounts.jsonl", '{"account_id":1,"Nmae":2}\n')]
)
def test_a_mapped_column_that_is_not_there_is_named(source_loads, name, text):
    source_loads.write_company()
    (source_loads.folder / "accounts.csv").unlink()
    source_loads.write(name, text)
    expected = (
        r"accounts\.\w+: there is no column 'Name', which `columns` in csm\.yaml maps to account_name\. Is it 'Nmae'\? "
        r"Found: (account_id, Nmae|Nmae, account_id)\."
    )
    with pytest.raises(SourceError, match=expected):
        load(source_loads, columns={"accounts": {"account_name": "Name"}})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"columns": {"acounts": {"account_id": "Id"}}}, "'acounts' is not an entity; did you mean 'accounts'"),
        (
            {"columns": {"accounts": {"acount_id": "Id"}}},
            "'acount_id' is not a column of accounts; did you mean 'account_id'",
        ),
        ({"columns": {"accounts": {"account_id": " "}}}, "the name of a column is empty"),
        ({"dates": "%d/%m"}, "does not state year, month and day"),
        ({"dates": ["%d/%m/%Y", "%Q"]}, "has the unknown directive %Q"),
        ({"dates": "%d/%m/%Y %I:%M"}, "without %p"),
        ({"decimal": ";"}, "decimal"),
        ({"delimiter": ";;"}, "is not allowed"),
        ({"delimiter": '"'}, "other than a quote or a line end"),
        ({"delimiter": ",", "decimal": ","}, "delimiter and decimal are both ','"),
        ({"null_values": [""]}, "an empty value is always null"),
        ({"null_values": [None]}, "put it in quotes"),
        ({"null_values": ["NULL", False]}, 'null_values: YAML reads no, off or false .* as in "No"'),
        (
            {"columns": {"invoices": {"invoice_id": False}}},
            "columns: invoices: invoice_id: YAML reads no, off or false without quotes as a boolean; put it in quotes, "
            'as in "No"',
        ),
        ({"columns": {"invoices": {"invoice_id": True}}}, 'invoice_id: YAML reads yes, on or true .* as in "Yes"'),
        ({"columns": {"invoices": {"invoice_id": 1}}}, "invoice_id: YAML reads 1 .* put it in quotes"),
        ({"columns": {"invoices": {"invoice_id": None}}}, "invoice_id: YAML reads this value as null; put it in quot"),
    ],
)
def test_settings_that_mean_nothing_are_rejected(tmp_path, said, message):
    with pytest.raises(ValidationError, match=message):
        FilesSettings.model_validate({"system": "files", "path": tmp_path, **said})


# -- separators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delimiter", "setting"), [(";", ";"), ("\t", "tab"), ("|", "|"), ("\u00a7", "\u00a7")])
def test_values_are_separated_by_the_delimiter(source_loads, delimiter, setting):
    for name, text in (("accounts", "account_id,account_name\na1,'A, B'\n"), ("features", "feature,module\nr,c\n")):
        source_loads.write(f"{name}.csv", text.replace(",", delimiter, 2).replace("'", '"'))
    source_loads.write("usage_events.csv", "event_id,account_id,event_name,occurred_at\n".replace(",", delimiter))
    source_loads.write("accounts.csv", f'account_id{delimiter}account_name\na1{delimiter}"A, {delimiter} B"\n')
    load(source_loads, delimiter=setting)
    assert source_loads.rows("select account_id, account_name from raw.files__accounts") == [
        ("a1", f"A, {delimiter} B")
    ]


@pytest.mark.parametrize(("delimiter", "said"), [(";", '";"'), ("\t", "tab"), ("|", '"|"')])
def test_the_setting_is_suggested(source_loads, delimiter, said):
    source_loads.write_company(accounts=f"account_id{delimiter}account_name\n")
    with pytest.raises(SourceError) as caught:
        load(source_loads)
    assert f"Save the file with commas as separators, or set `delimiter: {said}` for the source in csm.yaml." in str(
        caught.value
    )


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("line_break", [False, True])
@pytest.mark.parametrize(
    ("first", "delimiter", "setting"),
    [
        ("sep=;", ";", None),
        ("SEP=|", "|", None),
        ('"sep=\t"', "\t", None),
        ("\ufeffsep=,", ",", None),
        ("sep=,", ";", ";"),
    ],
)
def test_a_first_line_of_excel_states_the_delimiter(source_loads, first, delimiter, setting, line_end, line_break):
    source_loads.write_company()
    if setting:
        for name in ("accounts", "features", "usage_events"):
            path = source_loads.folder / f"{name}.csv"
            path.write_text(path.read_text().replace(",", setting))
    name = '"Ahlers\n2"' if line_break else "Ahlers"
    rows = [("account_id", "account_name", "plan"), ("a1", name, "NULL"), ("a2", '"NULL"', "pro"), ("a3", "broken")]
    lines = [first, *(delimiter.join(row) for row in rows)]
    source_loads.write("accounts.csv", "".join(line.replace("\n", line_end) + line_end for line in lines).encode())
    load(source_loads, **({"delimiter": setting} if setting else {}))
    found = source_loads.rows("select account_id, account_name, plan, _source_line from raw.files__accounts order by 1")
    if line_break and line_end == "\r":
        # Every carriage return ends a line there.
        assert [row[0] for row in found] == ["a1", "a2"]
    else:
        assert found == [
            ("a1", name.strip('"').replace("\n", line_end), None, 3),
            ("a2", "NULL", "pro", 4 + line_break),
        ]
    assert source_loads.rows("select source_line, raw_text from raw.unparseable_rows") == [
        (5 + line_break, f"a3{delimiter}broken")
    ]


def test_a_file_with_nothing_but_the_delimiter_is_an_error(source_loads):
    source_loads.write_company(accounts="sep=;\n")
    with pytest.raises(SourceError, match="the second line is blank; expected the column names"):
        load(source_loads)


# -- dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "formats", "iso"),
    [
        ("30/06/2026", ["%d/%m/%Y"], "2026-06-30"),
        ("06/07/2026", ["%d/%m/%Y"], "2026-07-06"),
        ("06/07/2026", ["%m/%d/%Y", "%d/%m/%Y"], "2026-06-07"),
        ("30/06/2026", ["%m/%d/%Y", "%d/%m/%Y"], "2026-06-30"),
        (" 30.06.2026 14:05 ", ["%d.%m.%Y %H:%M"], "2026-06-30T14:05:00.000000"),
        ("30.06.2026 01:05 PM", ["%d.%m.%Y %I:%M %p"], "2026-06-30T13:05:00.000000"),
        ("30.06.2026 14:05 +0200", ["%d.%m.%Y %H:%M %z"], "2026-06-30T12:05:00.000000Z"),
        ("30 Jun 2026", ["%d %b %Y"], "2026-06-30"),
        ("30/06/26", ["%d/%m/%y"], "2026-06-30"),
        ("30/06/26", ["%d/%m/%Y"], "30/06/26"),
        ("31/02/2026", ["%d/%m/%Y"], "31/02/2026"),
        ("2026-06-30", ["%d/%m/%Y"], "2026-06-30"),
        ("2026-06-30T10:00:00+02:00", ["%d/%m/%Y"], "2026-06-30T10:00:00+02:00"),
        ("soon", ["%d/%m/%Y"], "soon"),
        ("1/7/2026 9:05", ["%d/%m/%Y %H:%M"], "2026-07-01T09:05:00.000000"),
        ("30/06/2026  14:05", ["%d/%m/%Y %H:%M"], "2026-06-30T14:05:00.000000"),
        ("30 JUNE 2026 1:05 pm", ["%d %B %Y %I:%M %p"], "2026-06-30T13:05:00.000000"),
        ("30.10.2026 14:05:01.5", ["%d.%m.%Y %H:%M:%S.%f"], "2026-10-30T14:05:01.500000"),
        ("30/06/2026 14:05:01.050 +02:00", ["%d/%m/%Y %H:%M:%S.%f %z"], "2026-06-30T12:05:01.050000Z"),
        ("1/1/2026 00:30+0200", ["%d/%m/%Y %H:%M%z"], "2025-12-31T22:30:00.000000Z"),
        ("14:05 -02 30-06-2026", ["%H:%M %z %d-%m-%Y"], "2026-06-30T16:05:00.000000Z"),
        ("Tue 30/06/2026", ["%a %d/%m/%Y"], "2026-06-30"),
        ("366 2024", ["%j %Y"], "2024-12-31"),
        ("20260101", ["%Y%m%d"], "2026-01-01"),
        # What strptime reads, though the format does not describe it, stays, to be rejected by the gate.
        *(
            (text, [form], text)
            for text in ("infinity", "-infinity", "Infinity", "epoch", " infinity ")
            for form in ("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S.%f", "%d/%m/%Y %H:%M %z")
        ),
        ("366 2026", ["%j %Y"], "366 2026"),
        ("2026111", ["%Y%m%d"], "2026111"),
        ("Mon 30/06/2026", ["%a %d/%m/%Y"], "Mon 30/06/2026"),
        ("Monday 30/06/2026 14:05 +0200", ["%A %d/%m/%Y %H:%M %z"], "Monday 30/06/2026 14:05 +0200"),
        ("30/06/2026 14:05 AM", ["%d/%m/%Y %H:%M %p"], "30/06/2026 14:05 AM"),
    ],
)
def test_text_of_a_format_becomes_iso(text, formats, iso):
    assert value(iso_time(literal(text), tuple(formats))) == iso


def test_null_stays_null():
    assert value(iso_time("cast(null as varchar)", ("%d/%m/%Y",))) is None
    assert value(plain_number("cast(null as varchar)", ",")) is None


@given(
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001  # hypothesis expects a time without zone
    st.sampled_from(["%d/%m/%Y", "%m-%d-%Y", "%Y.%d.%m"]),
)
@settings(max_examples=examples(60), deadline=None)
def test_every_day_comes_back(moment, form):
    assert value(iso_time(literal(moment.strftime(form)), (form,))) == moment.date().isoformat()


WORDS = st.sampled_from(["infinity", "-infinity", "epoch", "Mon", "tue", "June", "jun", "PM", "am", "+02", "-0530"])
PARTS = st.one_of(
    WORDS,
    st.sampled_from([1, 6, 12, 30, 31, 111, 181, 366, 611, 1899, 2024, 2026, 20260630, 2026111]).map(str),
    st.sampled_from(["06", "007", "0", "00"]),
)


@given(
    form=st.sampled_from(
        ["%d/%m/%Y", "%Y%m%d", "%j %Y", "%a %d/%m/%Y", "%d %B %Y", "%d %b %y", "%d/%m/%Y %I:%M %p", "%d/%m/%Y %H:%M"]
    ),
    data=st.data(),
)
@settings(max_examples=examples(150), deadline=None)
def test_what_a_format_converts_formats_back_to_the_text(form, data):
    separators = re.split(r"%.", form)
    text = "".join(data.draw(PARTS) + separator for separator in separators[1:])
    result = str(value(iso_time(literal(text), (form,))))
    if result != text:
        again = datetime.fromisoformat(result).strftime(form)
        assert _without_leading_zeros(again) == _without_leading_zeros(text)


def _without_leading_zeros(text: str) -> str:
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", text).lower()


@pytest.mark.parametrize("text", ["infinity", "-infinity", "epoch"])
def test_open_ends_as_postgresql_writes_them_are_rejected(source_loads, text):
    source_loads.write_company(accounts=f"account_id,account_name,created_at\na1,Ahlers,{text}\na2,Bolt,01/02/2026\n")
    load(source_loads, dates="%d/%m/%Y")
    source_loads.stage("accounts")
    assert source_loads.quarantined("accounts") == [(2, "created_at", "invalid_timestamp", text)]


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "decimal", "plain"),
    [
        ("$1,000.00", ".", "1000.00"),
        ("1.000,00 \u20ac", ",", "1000.00"),
        ("EUR 1.000", ",", "1000"),
        ("1,000", ".", "1000"),
        ("1,000", ",", "1.000"),
        ("(12,50)", ",", "-12.50"),
        ("($12.50)", ".", "-12.50"),
        ("(12.50) \u20ac", ".", "-12.50"),
        ("12.50-", ".", "-12.50"),
        ("-$12.50", ".", "-12.50"),
        ("$-12.50", ".", "-12.50"),
        ("\u221212,50", ",", "-12.50"),
        ("+5", ",", "5"),
        ("1 234 567,8", ",", "1234567.8"),
        ("1\u00a0234\u00a0567,8", ",", "1234567.8"),
        ("1\u202f234", ",", "1234"),
        ("1'234'567.80", ".", "1234567.80"),
        ("CHF 1\u2019234.50", ".", "1234.50"),
        # What is no such number stays, to be rejected by the gate.
        *((text, ".", text) for text in ("1,00", "1,0000", "1,234,56", "1,234 567", "0,125", "1,5", "12 %", "abc", "")),
        *(
            (text, ",", text)
            for text in ("1.00", "10.0", "-0.000", "1.234.56", "12,50,00", "1 23", "$5 EUR", "--5", "(5", "5)")
        ),
        # The gate would accept what has the other separator.
        *(
            (text, ",", f'{text} [decimal: ","]')
            for text in ("12.50", "0.125", "1234.5", "-12.5", "+0.1", " 12.5 ", "1234.567", "10.01")
        ),
        ('12.50 [decimal: ","]', ",", '12.50 [decimal: ","]'),
        ('12.50 [decimal: ","]', ".", "12.50"),
        ("1e5", ".", "1e5"),
    ],
)
def test_a_number_as_people_write_it(text, decimal, plain):
    assert value(plain_number(literal(text), decimal)) == plain


@given(
    number=st.decimals(-(10**12), 10**12, places=2),
    style=st.sampled_from([(",", "."), (".", ","), (",", " "), (",", "\u00a0"), (".", "'"), (".", "")]),
    dress=st.sampled_from(["{}", "${}", "{} \u20ac", "USD {}", "{}CHF"]),
    minus=st.sampled_from(["-{}", "{}-", "({})", "\u2212{}"]),
)
@settings(max_examples=examples(150), deadline=None)
def test_every_number_comes_back(number, style, dress, minus):
    decimal, group = style
    text = f"{abs(number):,.2f}".replace(",", "\0").replace(".", decimal).replace("\0", group)
    text = dress.format(text)
    text = minus.format(text) if number < 0 else text
    assert Decimal(str(value(plain_number(literal(text), decimal)))) == number


def test_numbers_and_dates_are_read_in_every_form_of_file(source_loads):
    source_loads.write_company()
    source_loads.write("invoices/1.csv", HEADER.replace(",", ";") + 'i1;a1;"1.000,50 \u20ac";30/06/2026\n')
    source_loads.write(
        "invoices/2.jsonl",
        '{"invoice_id":"i2","account_id":"a1","amount_due":"1.000","issued_at":"30/06/2026"}\n'
        '{"invoice_id":"i3","account_id":"a1","amount_due":1.125,"issued_at":"2026-06-30"}\n',
    )
    parquet = source_loads.folder / "invoices" / "3.parquet"
    source_loads.connection.execute(
        "copy (select 'i4' as invoice_id, 'a1' as account_id, '2,5' as amount_due, '1/7/2026' as issued_at) "
        f"to '{parquet}'"
    )
    for name in ("accounts", "features", "usage_events"):
        path = source_loads.folder / f"{name}.csv"
        path.write_text(path.read_text().replace(",", ";"))
    load(source_loads, delimiter=";", decimal=",", dates="%d/%m/%Y")
    assert source_loads.rows("select invoice_id, amount_due, issued_at from raw.files__invoices order by 1") == [
        ("i1", "1000.50", "2026-06-30"),
        ("i2", "1000", "2026-06-30"),
        ("i3", "1.125", "2026-06-30"),
        ("i4", "2.5", "2026-07-01"),
    ]


@given(
    text=st.from_regex(r"[+-]?[0-9]{1,4}([.,][0-9]{1,4}){0,2}", fullmatch=True),
    decimal=st.sampled_from([".", ","]),
)
@settings(max_examples=examples(200), deadline=None)
def test_what_the_gate_accepts_has_the_value_by_the_setting(text, decimal):
    with duckdb.connect() as connection:
        create_macros(connection)
        sql = f"select cast(plain_number({plain_number(literal(text), decimal)}) as varchar)"
        (found,) = connection.execute(sql).fetchall()[0]
    other = "," if decimal == "." else "."
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    whole, _, fraction = digits.partition(decimal)
    if re.fullmatch(rf"[0-9]+|[1-9][0-9]{{0,2}}(\{other}[0-9]{{3}})+", whole) and not re.search("[.,]", fraction):
        if not digits.endswith(decimal):
            assert Decimal(str(found)) == Decimal(f"{sign}{whole.replace(other, '')}.{fraction or 0}")
    elif decimal == "," and re.fullmatch(r"[0-9]+\.0+", digits):
        assert Decimal(str(found)) == Decimal(text)
    else:
        assert found is None


@pytest.mark.parametrize(
    ("decimal", "text", "kept"), [(",", "12.50", '12.50 [decimal: ","]'), (".", "12,50", "12,50"), (".", "1,5", "1,5")]
)
def test_a_number_with_the_other_separator_is_rejected_with_its_text(source_loads, decimal, text, kept):
    source_loads.write_company()
    for name in ("accounts", "features", "usage_events"):
        path = source_loads.folder / f"{name}.csv"
        path.write_text(path.read_text().replace(",", ";"))
    source_loads.write("invoices.csv", HEADER.replace(",", ";") + f"i1;a1;{text};2026-06-01\ni2;a1;10.0;2026-06-01\n")
    load(source_loads, delimiter=";", decimal=decimal)
    source_loads.stage("accounts", "invoices")
    assert source_loads.quarantined("invoices") == [(2, "amount_due", "invalid_number", kept)]
    assert source_loads.rows("select invoice_id, amount_due from staging.stg_invoices") == [("i2", Decimal(10))]


# -- nulls -----------------------------------------------------------------------------------------------------------


def test_null_values_mean_null_unless_they_are_quoted(source_loads):
    source_loads.write_company(accounts='account_id,account_name,plan,segment\na1,"NULL",\\N,NULL\na2,NULLs,"\\N",""\n')
    load(source_loads)
    assert source_loads.rows("select account_name, plan, segment from raw.files__accounts order by account_id") == [
        ("NULL", None, None),
        ("NULLs", "\\N", None),
    ]
    load(source_loads, null_values=["?"])
    assert source_loads.rows("select account_name, plan, segment from raw.files__accounts order by account_id") == [
        ("NULL", "\\N", "NULL"),
        ("NULLs", "\\N", None),
    ]


CELL = st.sampled_from(
    [
        "",
        "NULL",
        "\\N",
        '"NULL"',
        '"\\N"',
        '""',
        "x",
        '"x"',
        '"a""b"',
        "NULLx",
        "?",
        '"?"',
        '"a;b"',
        " NULL",
        "NULL ",
        '" NULL "',
        " ? ",
    ]
)


@settings(max_examples=examples(120), deadline=None, suppress_health_check=FIXTURE)
@given(
    rows=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=5),
    nulls=st.sampled_from([NULL_VALUES, (), ("?",), ("NULL", "?", "x")]),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_the_fast_and_the_careful_reader_agree(tmp_path_factory, rows, nulls, delimiter):
    folder = tmp_path_factory.mktemp("nulls")
    path = folder / "a.csv"
    lines = [delimiter.join(row) for row in rows]
    if delimiter == ";":
        lines = [line.replace('"a;b"', '"a,b"') for line in lines]
    path.write_text("\n".join([delimiter.join("abc"), *lines]) + "\n")
    careful = list(read_rows(path, 3, delimiter=delimiter, null_values=nulls))
    assert all(isinstance(one, Row) for one in careful)
    with duckdb.connect() as connection:
        file = describe_file(path, Reading(delimiter=delimiter, null_values=nulls))
        reader = text_loader.TextLoader(connection, RawTable("files", "t", "t", ()), "incoming", SilentLog())
        reader.read([file])
        (table,) = reader.tables.values()
        found = connection.execute(f"select c0, c1, c2 from temp.{table} order by _source_line").fetchall()
    assert found == [one.values for one in careful if isinstance(one, Row)]
    # And both agree with what the text says.
    said = [
        tuple(
            None if cell.strip() in nulls or cell in ("", '""') else next(csv.reader(io.StringIO(cell)))[0]
            for cell in row
        )
        for row in rows
    ]
    if delimiter == ",":
        assert found == said


@pytest.mark.parametrize("line_break", [False, True])
def test_null_values_with_blanks_around_them_mean_null(source_loads, line_break):
    rows = ["e1,a1, NULL ,login", "e2,a1,\\N ,login", 'e3,a1," NULL ",login', "e4,a1,\tNULL,login", "e5,a1,is NULL,x"]
    rows += ['e6,a1,u,"a\nb"'] if line_break else []
    source_loads.write_company()
    text = "".join(f"{row},2026-06-01\n" for row in rows)
    source_loads.write("usage_events/2.csv", f"event_id,account_id,user_id,event_name,occurred_at\n{text}")
    (source_loads.folder / "usage_events.csv").unlink()
    load(source_loads)
    found = source_loads.rows("select event_id, user_id, _source_line from raw.files__usage_events order by 1")
    assert found[:5] == [
        ("e1", None, 2),
        ("e2", None, 3),
        ("e3", " NULL ", 4),
        ("e4", None, 5),
        ("e5", "is NULL", 6),
    ]


def test_a_text_across_two_chunks_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("csm_core.ingest.text_files.CHUNK", 3)
    path = tmp_path / "a.csv"
    path.write_text("abcNULLdef\\N")
    assert scanned(path, ("NULL", "\\N", "LLx")).texts == {"NULL", "\\N"}


# -- JSON lines ------------------------------------------------------------------------------------------------------


def test_a_json_line_with_a_key_twice_is_rejected(source_loads):
    source_loads.write_company()
    (source_loads.folder / "usage_events.csv").unlink()
    line = '{"event_id":"e%s","account_id":"a1","event_name":"login","occurred_at":"2026-06-01","quantity":2%s}\n'
    source_loads.write(
        "usage_events.jsonl", line % (1, "") + line % (2, ',"quantity":7') + line % (3, ',"x":{"y":1,"z":1}')
    )
    result = load(source_loads)["raw.files__usage_events"]
    assert (result.loaded, result.unparseable) == (2, 1)
    assert source_loads.rows("select event_id from raw.files__usage_events order by 1") == [("e1",), ("e3",)]
    assert source_loads.rows("select source_line, reason, detail, raw_text from raw.unparseable_rows") == [
        (2, "unparseable_row", "the key 'quantity' appears twice", (line % (2, ',"quantity":7')).strip())
    ]


# -- reloading -------------------------------------------------------------------------------------------------------


def test_another_way_of_reading_replaces_what_was_loaded(source_loads):
    source_loads.write_company()
    source_loads.write("invoices.csv", "Id,account_id,amount_due,issued_at\ni1,a1,10,30/06/2026\n")
    said = {"columns": {"invoices": {"invoice_id": "Id"}}}
    load(source_loads, **said)
    source_loads.stage("accounts", "invoices")
    assert load(source_loads, **said)["raw.files__invoices"].files_unchanged == 1
    assert load(source_loads, **said, dates="%d/%m/%Y")["raw.files__invoices"].loaded == 1
    assert source_loads.rows("select invoice_id, issued_at from raw.files__invoices") == [("i1", "2026-06-30")]
    assert source_loads.rows(
        "select status from raw.loads where raw_table = 'raw.files__invoices' order by load_id"
    ) == [
        ("replaced",),
        ("loaded",),
    ]
    assert source_loads.stage("accounts", "invoices")["invoices"].loaded == 1
    assert load(source_loads, **said, dates="%d/%m/%Y")["raw.files__invoices"].files_unchanged == 1


EVENT_COLUMNS = "event_id,account_id,event_name,quantity,occurred_at\n"
OTHER_SETTINGS: list[dict[str, Any]] = [
    {"decimal": ","},
    {"dates": "%d/%m/%Y"},
    {"null_values": ["?"]},
    {"columns": {"usage_events": {"user_id": "event_name"}}},
    {},
]


def events(*names: str) -> str:
    return EVENT_COLUMNS + "".join(f"{name},a1,login,1,2026-06-01\n" for name in names)


def staged_events(source_loads) -> list[object]:
    return [name for (name,) in source_loads.rows("select event_id from staging.stg_usage_events order by 1")]


@pytest.mark.parametrize("said", OTHER_SETTINGS[:-1])
def test_another_setting_keeps_what_earlier_contents_of_a_file_held(source_loads, said):
    source_loads.write_company(usage_events=events("e1", "e2"))
    for content, settings_of_day in ((("e1", "e2"), {}), (("e3",), {}), (("e3",), said)):
        source_loads.write("usage_events.csv", events(*content))
        load(source_loads, **settings_of_day)
        source_loads.stage("accounts", "features", "usage_events")
    assert staged_events(source_loads) == ["e1", "e2", "e3"]
    assert source_loads.rows(
        "select status from raw.loads where raw_table = 'raw.files__usage_events' order by load_id"
    ) == [
        ("loaded",),
        ("replaced",),
        ("loaded",),
    ]
    read_again = {"file": str(source_loads.folder / "usage_events.csv")}
    assert ("file read again with other settings", read_again) in source_loads.log.events
    warned = [fields for event, fields in source_loads.log.events if event == "files read again with other settings"]
    assert {"entity": "usage_events", "files": read_again["file"]} in warned


@settings(max_examples=examples(12), deadline=None, suppress_health_check=FIXTURE)
@given(
    days=st.lists(
        st.tuples(st.sets(st.sampled_from("abcdef"), max_size=3), st.sampled_from(OTHER_SETTINGS), st.booleans()),
        min_size=2,
        max_size=6,
    )
)
def test_settings_never_decide_which_records_there_are(tmp_path_factory, days):
    delivered: set[str] = set()
    with new_source_loads(tmp_path_factory.mktemp("days")) as source_loads:
        source_loads.write_company()
        for names, said, is_staged in (*days, (set(), {}, True)):
            source_loads.write("usage_events.csv", events(*sorted(names)))
            load(source_loads, **said)
            # A version that was never staged is withdrawn by the next one.
            if is_staged:
                source_loads.stage("accounts", "features", "usage_events")
                delivered |= names
        assert staged_events(source_loads) == sorted(delivered)


def test_a_load_with_other_settings_that_is_not_staged_loses_nothing_when_the_file_changes_or_is_gone(source_loads):
    source_loads.write_company(usage_events=events("e1"))
    source_loads.write("usage_events/2.csv", events("e2"))
    load(source_loads)
    source_loads.stage("accounts", "features", "usage_events")
    load(source_loads, dates="%d/%m/%Y")
    source_loads.write("usage_events.csv", events("e3"))
    (source_loads.folder / "usage_events/2.csv").unlink()
    load(source_loads, dates="%d/%m/%Y")
    source_loads.stage("accounts", "features", "usage_events")
    assert staged_events(source_loads) == ["e1", "e2", "e3"]


def test_a_setting_that_cannot_matter_for_a_file_reads_nothing_again(source_loads):
    source_loads.write_company()
    source_loads.write("invoices/1.jsonl", '{"invoice_id":"i1","account_id":"a1","issued_at":"2026-06-30"}\n')
    source_loads.connection.execute(
        "copy (select 'i2' as invoice_id, 'a1' as account_id, date '2026-06-01' as issued_at) "
        f"to '{source_loads.folder / 'invoices' / '2.parquet'}'"
    )
    load(source_loads)
    results = load(source_loads, null_values=["?"])
    assert results["raw.files__invoices"].files_unchanged == 2
    assert results["raw.files__accounts"].loaded == 2
    results = load(source_loads, null_values=["?"], decimal=",")
    assert results["raw.files__invoices"].loaded == 2
    assert results["raw.files__accounts"].files_unchanged == 1


# -- Parquet ---------------------------------------------------------------------------------------------------------


def test_the_damaged_one_of_several_parquet_files_is_named(source_loads):
    source_loads.write_company()
    folder = source_loads.folder / "invoices"
    folder.mkdir()
    for number in range(5):
        source_loads.connection.execute(
            f"copy (select 'i{number}' || i as invoice_id, 'a1' as account_id, date '2026-06-01' as issued_at "
            f"from range(100) t(i)) to '{folder / f'{number}.parquet'}'"
        )
    damaged = folder / "4.parquet"
    content = bytearray(damaged.read_bytes())
    content[4:100] = b"\xff" * 96
    damaged.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"invoices/4\.parquet: the Parquet file is damaged: .*Transfer or export it again"
    ):
        load(source_loads)
    assert source_loads.rows("select count(*) from raw.loads") == [(0,)]


@settings(max_examples=examples(15), deadline=None, suppress_health_check=FIXTURE)
@given(
    extra=st.sets(
        st.sampled_from(["filename", "file_row_number", "FILENAME", "File_Row_Number", "_csm_file", "file_index"]),
        min_size=1,
    ).filter(lambda names: len({name.lower() for name in names}) == len(names)),
    files=st.integers(1, 3),
)
@example(extra={"filename"}, files=2)
@example(extra={"file_row_number"}, files=2)
@example(extra={"filename", "_csm_file"}, files=3)
def test_parquet_columns_with_the_names_of_the_readers_own_columns_are_loaded(tmp_path_factory, extra, files):
    with new_source_loads(tmp_path_factory.mktemp("names")) as source_loads:
        source_loads.write_company()
        folder = source_loads.folder / "invoices"
        folder.mkdir()
        columns = ", ".join(f"'own' as \"{name}\"" for name in sorted(extra))
        for number in range(files):
            source_loads.connection.execute(
                f"copy (select '{number}-' || i as invoice_id, 'a1' as account_id, date '2026-06-01' as issued_at, "
                f"{columns} from range(5000) t(i)) to '{folder / f'{number}.parquet'}' (row_group_size 2048)"
            )
        load(source_loads)
        assert source_loads.rows(
            "select count(*), count(*) filter (where _source_file like '%/' || split_part(invoice_id, '-', 1) "
            "|| '.parquet' and _source_line = split_part(invoice_id, '-', 2)::int + 1) from raw.files__invoices"
        ) == [(5000 * files, 5000 * files)]
        kept = ", ".join(f'"{name.lower()}"' for name in sorted(extra))
        assert source_loads.rows(f"select distinct {kept} from raw.files__invoices") == [("own",) * len(extra)]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("360001234567.0::double", "360001234567"),
        ("-0.0::double", "0"),
        ("9007199254740991.0::double", "9007199254740991"),
        ("1e20::double", "100000000000000000000.0"),
        ("0.5::double", "0.5"),
        ("7.0::float", "7"),
        ("'nan'::double", "nan"),
        ("'-inf'::float", "-inf"),
        ("null::double", None),
    ],
)
def test_whole_numbers_of_parquet_are_whole_in_records(source_loads, tmp_path, sql, text):
    folder = tmp_path / "zendesk"
    folder.mkdir()
    source_loads.connection.execute(
        f"copy (select 1 as id, {sql} as organization_id) to '{folder / 'tickets.parquet'}'"
    )
    from csm_core.sources.settings import ZendeskSettings

    source = ZendeskSettings(system="zendesk", path=folder)
    get_system("zendesk").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=tmp_path / "s", log=source_loads.log
    )
    assert source_loads.rows("select record ->> '$.organization_id' from raw.zendesk__tickets") == [(text,)]


# -- looking at files without loading them ---------------------------------------------------------------------------


def source_of(source_loads, **said: Any) -> FilesSettings:
    return FilesSettings.model_validate({"system": "files", "path": source_loads.folder, **said})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "accounts.csv",
            "account_id,name\na1,x\n",
            r"accounts\.csv: required column missing: account_name \(is it 'name'\?\)",
        ),
        ("accounts.csv", "account_id;account_name\n", r"separated by semicolons.* set `delimiter: \";\"`"),
        ("accounts.jsonl", '{"account_id": 1}\n', r"accounts\.jsonl: required column missing: account_name"),
        ("accounts.jsonl", "[\n{}\n]", "a JSON array; expected JSON lines"),
        ("accounts.parquet", "PAR1", "not a readable Parquet file"),
        ("accounts.csv", "Account ID,account_id,account_name\n", "'Account ID' and 'account_id' are both read as"),
    ],
)
def test_a_check_looks_at_the_columns_of_every_file(source_loads, name, content, message):
    source_loads.write_company()
    (source_loads.folder / "accounts.csv").unlink()
    source_loads.write(name, content)
    with pytest.raises(SourceError, match=message):
        get_system("files").check(source_of(source_loads))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "duckdb"])
def test_a_landed_table_without_its_columns_is_an_error_in_check_and_load(source_loads, tmp_path, kind):
    from csm_core.sources.settings import ZendeskSettings

    place = tmp_path / "landed"
    if kind == "duckdb":
        with duckdb.connect(str(place)) as connection:
            connection.execute("create table ticket as select 1 as ticket_number, 2 as organization_id")
    else:
        place.mkdir()
        form = "json" if kind == "jsonl" else kind
        target = place / f"TICKET.{kind}"
        source_loads.connection.execute(
            f"copy (select 1 as ticket_number, 2 as organization_id) to '{target}' (format {form})"
        )
    source = ZendeskSettings.model_validate({"system": "zendesk", "tables": {"by": "fivetran", "path": place}})
    expected = (
        r"required columns missing: id, created_at, status\. "
        r"Found: (ticket_number, organization_id|organization_id, ticket_number)\."
    )
    with pytest.raises(SourceError, match=expected):
        get_system("zendesk").check(source)
    with pytest.raises(SourceError, match=expected):
        get_system("zendesk").load(
            source_loads.connection, [source], loaded_at=source_loads.now, folder=tmp_path / "s", log=source_loads.log
        )


def test_landed_json_lines_in_capitals_have_the_keys_of_columns(source_loads, tmp_path):
    from csm_core.sources.settings import ZendeskSettings

    (tmp_path / "ticket.jsonl").write_text(
        '{"ID": 1, "CREATED_AT": "2026-06-01", "STATUS": "open", "REQUESTER_ID": 5, "Custom": {"A B": 2}}\n{"ID": 3}\n'
    )
    source = ZendeskSettings.model_validate({"system": "zendesk", "tables": {"by": "fivetran", "path": tmp_path}})
    get_system("zendesk").check(source)
    get_system("zendesk").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=tmp_path / "s", log=source_loads.log
    )
    assert source_loads.rows(
        "select record ->> '$.id', record ->> '$.custom.\"A B\"' from raw.zendesk__fivetran_ticket order by 1"
    ) == [("1", "2"), ("3", None)]
