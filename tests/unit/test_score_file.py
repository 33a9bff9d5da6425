"""Scoring a file without a pipeline: good rows scored, bad ones reported with their line."""

import gzip
import json

import duckdb
import pytest

from csm_core.errors import InputError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.schemas import CSMHealthSignals
from csm_core.score_file import score_file

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
        ("signals.txt", "x", "cannot tell the format"),
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
    with pytest.raises(InputError, match="format to write"):
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
