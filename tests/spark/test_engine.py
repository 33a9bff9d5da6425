"""Runs with Spark, and the same runs with DuckDB: tables, quarantine, published copy and pages are equal."""

from __future__ import annotations

import shutil
from datetime import date

import pytest

from csm_core.config import PROJECT_ROOT
from csm_core.sample_company.generator import generate
from csm_core.warehouse.models import load_models
from tests.conftest import make_company
from tests.in_process import csm
from tests.spark.comparison import differences, left_by, run, with_pulses
from tests.spark.servers import require_spark

pytestmark = pytest.mark.slow

MODELS = [model.table for layer in ("intermediate", "marts") for model in load_models(layer).values()]


def engine_at(folder, address):
    kind = {"remote": address} if address.startswith("sc://") else {"master": address}
    return {"kind": "spark", "location": str(folder / "tables"), **kind}


def left_by_both(beside, plain, other, *arguments):
    """What the same command leaves with DuckDB, in a process beside this one, and with Spark."""
    wanted = beside.submit(left_by, plain, *arguments)
    found = left_by(other, *arguments)
    return wanted.result(), found


# One of the three currencies of the example company has no rate. Its days go up to the first day of a quarter, with
# reviews, from 28 days before it, with which scores are compared; every model has rows.
BUNDLED = {
    "acme": (
        {"reporting_currency": "USD", "fx": {"EUR": 1.08337}},
        ("--from", "2026-06-03", "--to", "2026-07-01"),
    ),
    "ravenstack": ({}, ("--as-of", "2024-12-31")),
}


# A pulse of a month, so that it counts on some of the days.
PULSES_FROM = date(2026, 6, 10)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory, beside):
    """What runs of the bundled companies with DuckDB leave, in a process beside this one."""
    folder = tmp_path_factory.mktemp("bundled")
    return {
        name: beside.submit(left_by, with_pulses(make_company(folder, name, **settings), PULSES_FROM), *arguments)
        for name, (settings, arguments) in BUNDLED.items()
    }


@pytest.fixture(params=["server", "this process"])
def address(request, server, spark):
    """Where Spark runs; the fixtures start Java with the options of the tests, a run has an environment of its own."""
    return server if request.param == "server" else "local[2]"


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_company_is_equal(tmp_path, bundled, address, name):
    settings, arguments = BUNDLED[name]
    company = with_pulses(make_company(tmp_path, name, engine=engine_at(tmp_path, address), **settings), PULSES_FROM)
    found = left_by(company, *arguments)
    wanted = bundled[name].result()
    assert differences(wanted, found) == []
    assert name != "acme" or [table for table in MODELS if not wanted[table]] == []


@pytest.mark.usefixtures("spark")
def test_a_session_in_this_process_is_equal(tmp_path, beside):
    records = tmp_path / "records"
    generate(records, accounts=12, days=60, format="mixed")
    plain, other = (
        make_company(tmp_path, records),
        make_company(tmp_path, records, engine=engine_at(tmp_path, "local[2]")),
    )
    assert differences(*left_by_both(beside, plain, other, "--as-of", "2026-09-30")) == []


def test_spark_takes_over_and_reruns_corrections_late_records_and_a_backfill_are_equal(tmp_path, server, beside):
    records = tmp_path / "records"
    generate(records, accounts=12, days=60, format="csv")
    # The first day is built with DuckDB in both.
    plain = make_company(tmp_path, records)
    run(plain, "--as-of", "2026-09-29")
    other = make_company(tmp_path, records, engine=engine_at(tmp_path, server))
    shutil.copytree(plain.folder / "data", other.folder / "data")
    events = records / "usage_events" / "2026-09.csv"
    header, *lines = events.read_text(encoding="utf-8").splitlines()
    steps = [
        ([header, *lines], ("--as-of", "2026-09-30")),
        # A corrected file: the first fifty events are gone, so their days change.
        ([header, *lines[50:]], ("--as-of", "2026-09-30")),
        # They come back, late, and thirty days are built again.
        ([header, *lines], ("--from", "2026-09-01", "--to", "2026-09-30")),
    ]
    for number, (content, arguments) in enumerate(steps):
        events.write_text("\n".join([*content, ""]), encoding="utf-8")
        assert differences(*left_by_both(beside, plain, other, *arguments)) == [], f"step {number}"


def test_a_model_that_fails_on_the_server_is_named_with_the_first_line_of_its_message(tmp_path, server):
    company = make_company(tmp_path, "acme", engine=engine_at(tmp_path / "no", server))
    (tmp_path / "no").write_text("a file where the folder of the tables should be", encoding="utf-8")
    done = csm("run", "--as-of", "2026-06-30", "--config", str(company.config_file), folder=company.folder)
    assert done.status == 1
    assert f"{PROJECT_ROOT}/sql/intermediate/int_" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_server_that_is_not_there_is_bad_input(tmp_path):
    require_spark()
    company = make_company(tmp_path, "acme", engine=engine_at(tmp_path, "sc://127.0.0.1:9"))
    done = csm("doctor", "--config", str(company.config_file), folder=company.folder)
    assert done.status == 2
    assert "Spark cannot be reached at sc://127.0.0.1:9" in done.stdout + done.stderr
