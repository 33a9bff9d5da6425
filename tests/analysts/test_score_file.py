"""Scoring a file without a pipeline: good rows scored, bad ones reported with their line."""

import gzip
import json

import duckdb
import pandas as pd
import pytest

from csm_core.analysts.score_file import score_file
from csm_core.errors import InputError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.schemas import CSMHealthSignals
from csm_core.scoring.input_columns import UnusedColumnsWarning
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer
from tests.scoring_cases import boundary_rows, frame_of

HEADER = (
    "account_id,feature_adoption_rate,usage_trend,invoice_payment_status,seats_utilization_rate,"
    "stakeholder_engagement,nps_score"
)
GOOD = "a,0.5,stable,current,0.7,medium,9"


def write(folder, *lines, name="signals.csv"):
    path = folder / name
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def expected():
    return CSMHealthScorer().score(
        CSMHealthSignals(
            feature_adoption_rate=0.5,
            usage_trend="stable",
            invoice_payment_status="current",
            seats_utilization_rate=0.7,
            stakeholder_engagement="medium",
            nps_score=9,
        )
    )


@pytest.mark.parametrize(
    ("row", "line", "field", "said"),
    [
        ("b,1.5,stable,current,0.7,medium,9", 3, "feature_adoption_rate", "1.5"),
        ("b,0.5,rising,current,0.7,medium,9", 3, "usage_trend", "rising"),
        ("b,0.5,stable,current,0.7,medium,9.5", 3, "nps_score", "9.5"),
        ("b,0.5,stable,current,nan,medium,9", 3, "seats_utilization_rate", "nan"),
        ("b,,stable,current,0.7,medium,9", 3, "feature_adoption_rate", "missing"),
        (",0.5,stable,current,0.7,medium,9", 3, "account_id", "missing"),
        ("a,0.5,stable,current,0.7,medium,9", 3, "account_id", "more than once"),
        ("b,0.5,stable", 3, "", "3 values"),
        ("b,'; drop table good; --,stable,current,0.7,medium,9", 3, "feature_adoption_rate", "drop table"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_the_others_are_scored(tmp_path, row, line, field, said):
    report = score_file(write(tmp_path, GOOD, row, "z" + GOOD[1:]))
    assert report.scored == 2
    (bad,) = report.bad
    assert (bad.line, bad.field) == (line, field)
    assert said in bad.reason


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_id_that_came_as_a_floating_point_number_is_the_integer(tmp_path, form):
    path = write(tmp_path, *(f"{name}{GOOD[1:]}" for name in ("1.0", "1", " 2", "2", "3.5", "03")))
    if form != "csv":
        with duckdb.connect() as connection:
            frame = connection.sql(f"from read_csv('{path}', all_varchar = true)")
            path = tmp_path / f"signals.{form}"
            connection.execute(f"copy frame to '{path}'")
            assert frame
    report = score_file(path, listed=True)
    assert [row["account_id"] for row in report.scores] == ["1", "2", "3.5", "03"]
    assert [(row.line, row.field, row.value) for row in report.bad] == [
        (line - (form != "csv"), "account_id", value) for line, value in ((3, "1"), (5, "2"))
    ]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("out_form", ["csv", "jsonl", "parquet"])
def test_formats_in_and_out_give_the_scalar_score(tmp_path, form, out_form):
    path = write(tmp_path, GOOD)
    if form == "csv.gz":
        compressed = tmp_path / "signals2.csv.gz"
        compressed.write_bytes(gzip.compress(path.read_bytes()))
        path = compressed
    elif form == "jsonl":
        path = tmp_path / "signals.jsonl"
        values = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
        path.write_text(json.dumps({**values, "nps_score": 9, "feature_adoption_rate": 0.5}) + "\n")
    elif form == "parquet":
        parquet = tmp_path / "signals.parquet"
        duckdb.sql(f"copy (from read_csv('{path}')) to '{parquet}' (format parquet)")
        path = parquet
    out = tmp_path / f"scored.{out_form}"
    report = score_file(path, out=out)
    assert (report.scored, report.bad) == (1, [])
    reader = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}[out_form]
    assert duckdb.sql(f"select account_id, score, rag from {reader}('{out}')").fetchall() == [
        ("a", expected().score, expected().rag)
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("signals.csv", "account_id,feature_adoption_rat\na,1\n", "is it 'feature_adoption_rat'"),
        ("signals.parquet", "no parquet", "parquet"),
        ("signals.txt", "x", "does not state a known format"),
        ("signals.csv", "", "empty"),
    ],
)
def test_files_that_cannot_be_scored(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        score_file(path)
    assert caught.value.exit_status == 2


def test_a_missing_file_and_an_unknown_output(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        score_file(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match=r"scored\.xlsx: the name does not state a known format"):
        score_file(write(tmp_path, GOOD), out=tmp_path / "scored.xlsx")


def test_the_command_exits_with_2_when_a_row_was_bad(company, tmp_path):
    one = company("acme")
    good = one.csm("score", str(write(tmp_path, GOOD)))
    assert good.returncode == 0
    assert "AMBER" in good.stdout
    bad = one.csm("score", str(write(tmp_path, GOOD, "b,2,stable,current,0.7,medium,9")))
    assert bad.returncode == 2
    assert "line 3" in bad.stderr
    assert "AMBER" in bad.stdout


def test_programs_are_given_the_report_and_the_scores_unless_a_file_holds_them(company, tmp_path):
    one = company("acme")
    path = str(write(tmp_path, GOOD, "b,2,stable,current,0.7,medium,9"))
    shown = one.csm("score", path, "--json")
    assert shown.returncode == 2
    report = json.loads(shown.stdout)
    assert report["scored"] == 1
    assert [(bad["line"], bad["account_id"], bad["field"]) for bad in report["bad"]] == [
        (3, "b", "feature_adoption_rate")
    ]
    assert [(row["account_id"], row["rag"]) for row in report["scores"]] == [("a", "AMBER")]
    written = one.csm("score", path, "--json", "--out", str(tmp_path / "scored.jsonl"))
    assert json.loads(written.stdout) == {name: found for name, found in report.items() if name != "scores"}
    (line,) = (tmp_path / "scored.jsonl").read_text().splitlines()
    assert json.loads(line)["score"] == report["scores"][0]["score"]


# -- lines and values -----------------------------------------------------------------------------------------------


def record(account: str, **more) -> dict:
    return {
        "account_id": account,
        "feature_adoption_rate": 0.5,
        "usage_trend": "stable",
        "invoice_payment_status": "current",
        "seats_utilization_rate": 0.7,
        "stakeholder_engagement": "medium",
        "nps_score": 9,
        **more,
    }


def test_json_lines_are_told_by_their_own_line(tmp_path):
    path = tmp_path / "signals.jsonl"
    lines = [
        json.dumps(record("a")),
        "",
        "{broken",
        json.dumps(record("b", nps_score=True)),
        "[1, 2]",
        json.dumps(record("c", usage_trend={"is": "growing"})),
        json.dumps(record("d", nps_score=9.0, days_to_renewal=None)),
        json.dumps({"account_id": "e"}),
        "  ",
        json.dumps(record("f"))[:-1] + ', "nps_score": 3}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    report = score_file(path)
    assert report.scored == 2
    assert [(bad.line, bad.account_id, bad.field, bad.value) for bad in report.bad] == [
        (3, "", "", "{broken"),
        (4, "b", "nps_score", "true"),
        (5, "", "", "[1, 2]"),
        (6, "c", "usage_trend", '{"is":"growing"}'),
        (8, "e", "feature_adoption_rate", None),
        (10, "", "", lines[9]),
    ]
    assert report.bad[-1].reason == "the key 'nps_score' appears twice"
    assert report.bad[0].reason == "not a JSON object"
    assert report.exit_status == 2


def test_blank_lines_and_quoted_line_breaks_do_not_shift_the_lines(tmp_path):
    path = write(tmp_path, GOOD, "", '"b\nc",0.5,stable,current,0.7,medium,9', "d,0.5,stable,current,0.7,medium,eleven")
    report = score_file(path)
    assert report.scored == 2
    assert [(bad.line, bad.value) for bad in report.bad] == [(6, "eleven")]


def test_an_unclosed_quote_costs_its_line_alone(tmp_path):
    report = score_file(write(tmp_path, GOOD, '"b,0.5,stable,current,0.7,medium,9', "c" + GOOD[1:]))
    assert report.scored == 2
    (bad,) = report.bad
    assert bad.line == 3
    assert "quote" in bad.reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("nps_score", "1e1", "is not an integer: 1e1"),
        ("nps_score", "11", "is not from 0 to 10: 11"),
        ("nps_score", "99999999999999999999", "is not an integer: 99999999999999999999"),
        ("feature_adoption_rate", "0_5", "is not a number: 0_5"),
        ("feature_adoption_rate", "1e-400x", "is not a number: 1e-400x"),
        ("feature_adoption_rate", "Infinity", "is not a number: Infinity"),
        ("feature_adoption_rate", "1.0000001", "is not from 0 to 1: 1.0000001"),
        ("usage_trend", "Growing", "is not one of growing, stable, declining, inactive: Growing"),
    ],
)
def test_the_reason_says_what_is_wrong_with_the_value(tmp_path, field, value, reason):
    values = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {field: value}
    (bad,) = score_file(write(tmp_path, ",".join(values.values()))).bad
    assert (bad.field, bad.reason) == (field, reason)


@pytest.mark.parametrize("value", ["9", " 9 ", "+9", "9.0", "9."])
def test_whole_numbers_may_be_written_in_several_ways(tmp_path, value):
    report = score_file(write(tmp_path, GOOD.replace(",9", f",{value}")))
    assert (report.scored, list(report.bad)) == (1, [])


def test_optional_columns_take_their_defaults_and_blank_is_none(tmp_path):
    path = tmp_path / "signals.csv"
    path.write_text(HEADER + ",open_ticket_count,avg_ticket_sentiment\n" + GOOD.replace(",9", ",") + ",,critical\n")
    out = tmp_path / "scored.parquet"
    score_file(path, out=out)
    assert duckdb.sql(f"select nps_score_points, support_sentiment_points from '{out}'").fetchall() == [(2.0, 0.0)]


def test_tenants_and_days_tell_rows_of_one_account_apart_and_are_written(tmp_path):
    path = tmp_path / "signals.csv"
    rows = [f"{tenant},{day},{GOOD}" for tenant in ("n", "s") for day in ("2026-01-01", "2026-01-02")]
    path.write_text("\n".join([f"tenant_id,as_of_date,{HEADER}", *rows, rows[0]]) + "\n")
    out = tmp_path / "scored.csv"
    report = score_file(path, out=out)
    assert report.scored == 4
    assert [(bad.line, bad.field) for bad in report.bad] == [(6, "account_id")]
    found = duckdb.sql(f"select tenant_id, as_of_date::varchar, account_id from '{out}'").fetchall()
    assert found == [
        ("n", "2026-01-01", "a"),
        ("n", "2026-01-02", "a"),
        ("s", "2026-01-01", "a"),
        ("s", "2026-01-02", "a"),
    ]


def test_parquet_keeps_every_bit_and_tells_the_row(tmp_path):
    path = tmp_path / "signals.parquet"
    duckdb.sql(
        "copy (select 'a' || i as account_id, i / 3.0::double as feature_adoption_rate, 'stable' as usage_trend, "
        "'current'::enum('current') as invoice_payment_status, 0.7::float as seats_utilization_rate, "
        "'medium' as stakeholder_engagement, (i * 4)::double as nps_score, i::utinyint as open_ticket_count, "
        f"i as \"line\" from range(5) t(i)) to '{path}' (format parquet)"
    )
    out = tmp_path / "scored.parquet"
    report = score_file(path, out=out)
    assert [(bad.line, bad.field, bad.value) for bad in report.bad] == [
        (4, "nps_score", "12.0"),
        (5, "feature_adoption_rate", "1.3333333333333333"),
    ]
    found = duckdb.sql(f"select score from '{out}' order by account_id").fetchall()
    for number, (score,) in enumerate(found):
        values = record("a", feature_adoption_rate=number / 3, nps_score=number * 4, open_ticket_count=number)
        del values["account_id"]
        assert score == CSMHealthScorer().score_record(values, "a").score


@pytest.mark.parametrize("extra", ["file_row_number", "filename", "_line", "FILE_ROW_NUMBER"])
def test_parquet_columns_with_the_names_of_the_readers_own_columns_are_ignored(tmp_path, extra):
    path = tmp_path / "signals.parquet"
    source = write(tmp_path, GOOD, "b,2" + GOOD[GOOD.index(",", 2) :], name="signals.csv")
    duckdb.sql(f"copy (select *, 'own' as \"{extra}\" from '{source}') to '{path}' (format parquet)")
    report = score_file(path)
    assert report.scored == 1
    assert [(bad.line, bad.value) for bad in report.bad] == [(2, "2.0")]


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_name_with_signs_of_its_own_is_one_file(tmp_path):
    folder = tmp_path / "it's [a] folder*"
    folder.mkdir()
    path = write(folder, GOOD)
    assert score_file(path, out=folder / "sco'red[1].csv.gz").scored == 1
    assert gzip.decompress((folder / "sco'red[1].csv.gz").read_bytes()).startswith(b"account_id,score,")
    assert {entry.name for entry in folder.iterdir()} == {"signals.csv", "sco'red[1].csv.gz"}


def test_the_scorers_thresholds_are_used(tmp_path):
    path = write(tmp_path, GOOD)
    assert "AMBER" in score_file(path).table
    assert "GREEN" in score_file(path, scorer=VectorizedCSMHealthScorer(green_threshold=50)).table


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("signals.jsonl", json.dumps([record("a")]), "a JSON array"),
        ("signals.jsonl", "", "the file is empty"),
        ("signals.csv", HEADER.replace(",", ";") + "\n", "semicolon"),
        ("signals.csv.gz", HEADER, "gzip"),
        ("signals.csv", HEADER + ",support_sentiment,avg_ticket_sentiment\n", "are the same input"),
    ],
)
def test_other_files_that_cannot_be_scored(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        score_file(path)


def test_an_output_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path):
    path = write(tmp_path, GOOD)
    with pytest.raises(InputError, match="does not exist"):
        score_file(path, out=tmp_path / "nowhere" / "scored.csv")
    with pytest.raises(InputError, match="must not be the input file"):
        score_file(path, out=path)
    (tmp_path / "scored.csv").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        score_file(path, out=tmp_path / "scored.csv")
    assert {entry.name for entry in tmp_path.iterdir()} == {"signals.csv", "scored.csv"}
    assert path.read_text().startswith(HEADER)


def test_a_file_with_a_header_alone_is_scored_to_nothing(tmp_path):
    report = score_file(write(tmp_path), out=tmp_path / "scored.csv")
    assert (report.scored, list(report.bad), report.exit_status) == (0, [], 0)
    assert (tmp_path / "scored.csv").read_text().count("\n") == 1


def test_many_rows_are_scored_as_the_frame_is(tmp_path):
    frame = frame_of(boundary_rows())
    path, out = tmp_path / "signals.csv", tmp_path / "scored.parquet"
    frame.to_csv(path, index=False)
    assert list(score_file(path, out=out).bad) == []
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    assert list(pd.read_parquet(out)["score"]) == list(scored["score"])


def test_an_id_that_begins_like_a_formula_is_escaped_in_csv_alone(tmp_path):
    path = write(tmp_path, "=1+1" + GOOD[1:], "-5" + GOOD[1:])
    for name in ("scored.csv", "scored.parquet"):
        assert score_file(path, out=tmp_path / name).scored == 2
    read = "select account_id from {}('{}') order by all"
    kept = duckdb.sql(read.format("read_parquet", tmp_path / "scored.parquet")).fetchall()
    made = duckdb.sql(read.format("read_csv", tmp_path / "scored.csv")).fetchall()
    assert kept == [("-5",), ("=1+1",)]
    assert made == [("'-5",), ("'=1+1",)]


def test_the_table_says_levels_as_text_and_errors_no_control_characters(company, tmp_path):
    path = write(tmp_path, GOOD, "b\x1b[2J,0.5,\x1b[31mred,current,0.7,medium,9", "=c,0.5")
    said = company("acme").csm("score", str(path))
    assert said.returncode == 2
    assert "enum" not in said.stdout
    assert "\x1b" not in said.stderr + said.stdout
    assert "line 3: account 'b\\x1b[2J': usage_trend is not one of growing, stable, declining, inactive:  [31mred" in (
        said.stderr
    )
    assert f"{path}, line 4: 2 values for 7 columns\n" in said.stderr


@pytest.mark.parametrize("name", ["signals.csv", "signals.tsv", "SIGNALS.CSV.GZ", "signals.csv.zst", "signals.parquet"])
def test_names_in_capitals_and_with_blanks_are_the_inputs(tmp_path, name):
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join([HEADER.upper().replace("_", " ") + ",tenant", GOOD + ",t"]), encoding="utf-8")
    path = tmp_path / name
    compressed = {"GZ": ", compression gzip", "zst": ", compression zstd"}.get(name.rpartition(".")[2], "")
    delimiter = ", delim '\t'" if ".tsv" in name else ""
    form = "format parquet" if name.endswith("parquet") else f"format csv, header{compressed}{delimiter}"
    duckdb.execute(f"copy (from read_csv('{plain}', all_varchar = true)) to '{path}' ({form})")
    report = score_file(path, listed=True)
    assert (report.scored, report.bad) == (1, [])
    assert report.scores[0]["account_id"] == "a"
    assert report.scores[0]["score"] == expected().score
    assert report.note == "columns not used: tenant (is it tenant_id?)"


def test_scores_are_written_with_tabs_and_zstd(tmp_path):
    for name in ("scored.tsv", "scored.csv.zst", "scored.jsonl.gz"):
        out = tmp_path / name
        score_file(write(tmp_path, GOOD), out=out)
        assert duckdb.execute(f"select count(*) from '{out}'").fetchall() == [(1,)]
    assert "account_id\tscore" in (tmp_path / "scored.tsv").read_text()


def test_a_frame_with_columns_that_are_no_input_is_scored_with_a_warning():
    frame = frame_of(list(boundary_rows())[:3])
    scorer = VectorizedCSMHealthScorer()
    plain = scorer.score_frame(frame)
    spelt = frame.rename(columns={name: name.upper().replace("_", "-") for name in frame.columns}).assign(tenant="t")
    with pytest.warns(UnusedColumnsWarning, match=r"the frame: columns not used: tenant \(is it tenant_id\?\)"):
        pd.testing.assert_frame_equal(scorer.score_frame(spelt), plain)
