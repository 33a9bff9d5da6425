"""Analysts on the published copy: why a score, what changed, what another policy would have done, the macros."""

import json

import duckdb
import pytest

from tests.conftest import make_company


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    one = make_company(tmp_path_factory.mktemp("analysts"), "acme")
    result = one.csm("run", "--from", "2026-09-29", "--to", "2026-09-30", "--no-publish")
    assert result.returncode == 0, result.stdout + result.stderr
    return one


def test_explain_says_where_the_score_comes_from(acme):
    said = acme.csm("explain", "A0026")
    assert said.returncode == 0, said.stderr
    assert "63.89" in said.stdout
    assert "usage_trend" in said.stdout
    assert json.loads(acme.csm("explain", "A0026", "--json").stdout)


def test_explain_since_says_what_changed(acme):
    said = acme.csm("explain", "A0026", "--since", "2026-09-29")
    assert said.returncode == 0, said.stderr
    assert "-7" in said.stdout.replace("−", "-")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A9999"], "A9999"),
        (["A0026", "--as-of", "2026-01-05"], "2026-01-05"),
        (["A0026", "--since", "2026-10-05"], "before"),
    ],
)
def test_explain_refuses_what_is_not_there(acme, arguments, said):
    refused = acme.csm("explain", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_whatif_counts_and_writes_nothing(acme):
    stricter = acme.folder / "stricter.yaml"
    stricter.write_text("policies: [{green_threshold: 90}]")
    before = acme.query("select count(*) from duckdb_tables()")
    said = acme.csm("whatif", "--policy", str(stricter), "--from", "2026-09-29", "--to", "2026-09-30")
    assert said.returncode == 0, said.stderr
    assert "2026-09-30" in said.stdout
    assert json.loads(acme.csm("whatif", "--policy", str(stricter), "--json").stdout)
    assert acme.query("select count(*) from duckdb_tables()") == before


def test_the_macros_answer_in_a_plain_session_on_the_published_file(acme):
    with duckdb.connect(
        str(acme.config.warehouse.parent / "published" / "csm_analytics.duckdb"), read_only=True
    ) as copy:
        names = {
            name
            for (name,) in copy.execute(
                "select function_name from duckdb_functions() where function_name like 'csm_%'"
            ).fetchall()
        }
        assert {"csm_score", "csm_rag", "csm_churn_risk", "csm_points_usage_trend"} <= names
        differing = copy.execute(
            "select count(*) from marts.csm_health_scores where csm_rag(score, green_threshold, amber_threshold) <> rag"
        ).fetchone()
    assert differing == (0,)
