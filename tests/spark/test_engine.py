"""Runs with Spark in this process and with DuckDB: tables, quarantine, published copy and pages are equal; errors."""

from __future__ import annotations

import pytest

from csm_core.config import PROJECT_ROOT
from csm_core.sample_company.generator import generate
from tests.conftest import make_company
from tests.in_process import csm
from tests.spark.comparison import differences, left_by
from tests.spark.servers import require_spark

pytestmark = pytest.mark.slow


def engine_at(folder, address):
    kind = {"remote": address} if address.startswith("sc://") else {"master": address}
    return {"kind": "spark", "location": str(folder / "tables"), **kind}


@pytest.mark.usefixtures("spark")
def test_a_session_in_this_process_is_equal(tmp_path, beside):
    records = tmp_path / "records"
    generate(records, accounts=12, days=60, format="mixed")
    plain, other = (
        make_company(tmp_path, records),
        make_company(tmp_path, records, engine=engine_at(tmp_path, "local[2]")),
    )
    wanted = beside.submit(left_by, plain, "--as-of", "2026-09-30")
    found = left_by(other, "--as-of", "2026-09-30")
    assert differences(wanted.result(), found) == []


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
