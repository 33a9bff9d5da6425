"""Analysts on the published copy: why a score, what changed, what another policy would have done, the macros."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

import csm_core
from csm_core.analysts.queries import query_published
from csm_core.errors import InputError
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.scoring.macros import macros
from csm_core.warehouse.database import Warehouse


def test_explain_says_where_the_score_comes_from(acme):
    said = acme.csm("explain", "A0026")
    assert said.returncode == 0, said.stderr
    assert "63.89" in said.stdout
    assert "usage trend" in said.stdout
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


def test_whatif_while_a_run_is_writing_asks_the_published_copy(acme):
    policy = acme.folder / "stricter.yaml"
    policy.write_text("policies: [{green_threshold: 90}]")
    asked = ("whatif", "--policy", str(policy), "--json")
    with duckdb.connect(str(acme.config.warehouse)):
        during = json.loads(acme.csm(*asked).stdout)
    after = json.loads(acme.csm(*asked).stdout)
    assert during["mrr_known"]
    assert during == after


def test_whatif_says_which_option_names_a_file_that_is_not_there(company):
    refused = company("acme").csm("whatif", "--policy", "elsewhere.yaml")
    assert refused.returncode == 2
    assert "elsewhere.yaml: no such file; --policy must be" in refused.stderr
    assert "CSM_CONFIG" not in refused.stderr


def test_whatif_makes_no_warehouse_where_there_is_none(company):
    one = company("acme")
    (one.folder / "policy.yaml").write_text("policies: [{green_threshold: 90}]")
    said = one.csm("whatif", "--policy", "policy.yaml")
    assert said.returncode == 2
    assert "there is no published copy" in said.stderr
    assert not one.config.warehouse.parent.exists()


PLAIN_SESSION = """
import duckdb, json, sys
session = duckdb.connect(sys.argv[1], read_only=True)
print(json.dumps([session.execute(sys.argv[2]).fetchone(), "csm_core" in sys.modules]))
"""
CHURN = "rag, days_to_renewal, usage_trend, login_frequency_days, churn_window_days"
EQUAL = [
    f"csm_score({', '.join(field.name for field in FIELDS)}) = score",
    "csm_rag(score, green_threshold, amber_threshold) = rag",
    f"csm_churn_risk({CHURN}) = churn_risk_level",
    f"csm_churn_triggered_by({CHURN}) is not distinct from churn_triggered_by",
    "csm_should_alert(rag, churn_risk_level) = should_alert",
    "csm_points_support_sentiment(support_sentiment, open_ticket_count) = support_sentiment_points",
    *(f"csm_points_{name}({name}) = {name}_points" for name in SIGNAL_NAMES if name != "support_sentiment"),
]


def test_the_macros_give_the_marts_in_a_plain_session_on_the_published_file(acme):
    published = acme.config.warehouse.parent / "published" / "csm_analytics.duckdb"
    counted = ", ".join(f"count(*) filter (where {equal})" for equal in EQUAL)
    question = (
        f"select count(*), {counted} from marts.csm_health_signals "
        "inner join marts.csm_health_scores using (tenant_id, account_id, as_of_date)"
    )
    # -I: neither this folder nor the environment tells Python where the project is.
    asked = [sys.executable, "-I", "-c", PLAIN_SESSION, str(published), question]
    answer = subprocess.run(asked, capture_output=True, text=True, cwd=acme.folder, check=True)
    (rows, *equal), knows_the_project = json.loads(answer.stdout)
    assert rows > 300
    assert equal == [rows] * len(EQUAL)
    assert not knows_the_project


def named(call: str) -> str:
    """The call with the name of each argument that has a default: the form that DuckDB 1.2 understands as well."""
    macro_name, _, rest = call.partition("(")
    arguments, _, compared = rest.partition(")")
    parameters = next(one.parameters for one in macros() if one.name == macro_name)
    given = [
        f"{parameter.split(' ')[0]} := {argument}" if ":=" in parameter else argument
        for parameter, argument in zip(parameters, arguments.split(", "), strict=False)
    ]
    return f"{macro_name}({', '.join(given)}){compared}"


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('{file}')",
        "from read_text('{file}')",
        "from glob('/*')",
        "copy (select 1) to '{folder}/written.csv'",
        "attach '{folder}/other.duckdb'",
        "export database '{folder}/written'",
        "install httpfs",
        "load httpfs",
        "from read_csv('http://127.0.0.1:9/x.csv')",
        "set enable_external_access = true",
        "set memory_limit = '1GB'",
        "reset lock_configuration",
        "set temp_directory = '{folder}'",
        "pragma enable_profiling",
    ],
)
def test_a_query_reaches_no_file_network_or_setting(acme, tmp_path, query):
    (tmp_path / "file.csv").write_text("a\n1\n")
    warehouse = Warehouse.from_config(acme.config)
    with pytest.raises(InputError, match="--unsafe"):
        query_published(warehouse, query.format(file=tmp_path / "file.csv", folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_several_statements_are_refused_because_only_the_last_result_would_be_shown(acme):
    said = acme.csm("sql", "select 1; select ';' as semicolon -- ; a comment\n;")
    assert said.returncode == 2
    assert "expected one SQL statement, found 2" in said.stderr
    assert acme.csm("sql", "select ';' as semicolon -- ; a comment\n;").returncode == 0


def test_a_part_of_a_name_finds_the_account_or_lists_the_matches(acme):
    found = acme.csm("explain", "forge bank")
    assert (found.returncode, "A0142" in found.stdout) == (0, True), found.stderr
    several = acme.csm("explain", "Bank")
    assert several.returncode == 2
    assert "several accounts match 'Bank'; use one of" in several.stderr
    assert "(Golden Forge Bank)" in several.stderr


def test_a_query_sees_no_variable_of_the_program(acme):
    frame = [1]
    assert frame
    for name in ("frame", "connection", "warehouse"):
        with pytest.raises(InputError, match=f"there is no table {name}"):
            query_published(Warehouse.from_config(acme.config), f"from {name}")


def test_a_notebook_opens_the_copy_in_one_call(acme, monkeypatch):
    with csm_core.open_published(acme.config_file) as copy:
        assert copy.sql("select count(*) from csm_overview").fetchall() == [(189,)]
        assert copy.sql("select current_setting('timezone')").fetchall() == [("UTC",)]
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            copy.execute("delete from csm_overview")
    monkeypatch.setenv("CSM_CONFIG", str(acme.config_file))
    with csm_core.open_published() as copy:
        assert len(copy.sql("from csm_overview").df()) == 189
    assert (files("csm_core") / "py.typed").is_file()


def test_without_a_copy_open_published_says_what_to_do(company):
    with pytest.raises(InputError, match="run `csm run` first"):
        csm_core.open_published(company("acme").config_file)


def test_without_a_query_and_a_terminal_the_argument_is_missing(acme):
    said = acme.csm("sql", stdin=subprocess.DEVNULL)
    assert said.returncode == 2
    assert "Missing argument 'QUERY'" in said.stderr


def test_an_unsafe_query_reaches_files(acme):
    (acme.folder / "plan.csv").write_text("account_id\nA0026\n")
    said = acme.csm("sql", "--unsafe", "select count(*) as n from 'plan.csv'", "--format", "csv")
    assert (said.returncode, said.stdout) == (0, "n\n1\n"), said.stderr


def test_a_query_that_takes_too_long_is_stopped(acme):
    endless = "select count(*) from range(1000000000) as a cross join range(1000000000) as b"
    said = acme.csm("sql", "--timeout", "0.5", endless)
    assert said.returncode == 1
    assert "stopped after 0.5 seconds; --timeout SECONDS" in said.stderr


def test_an_unknown_table_lists_the_marts_and_the_nearest_name(acme):
    with pytest.raises(InputError) as rejected:
        query_published(Warehouse.from_config(acme.config), "from csm_helth_current")
    assert "there is no table csm_helth_current. Did you mean csm_health_current?" in str(rejected.value)
    assert "The marts are csm_accounts_daily, csm_day_roots, csm_days" in str(rejected.value)


def test_everything_that_is_created_is_for_its_owner_alone(acme):
    acme.csm("backup", "backups")
    acme.csm("quarantine", "tickets", "--out", "tickets.csv")
    acme.csm("notion", "plan")
    made = [acme.config.warehouse.parent, acme.folder / "backups", acme.folder / "tickets.csv"]
    paths = [path for one in made for path in (one, *one.rglob("*"))]
    paths += Path(acme.environment["DAGSTER_HOME"]).rglob("*")
    assert {"csm.duckdb", "csm_analytics.duckdb", "backup.json", "dagster.yaml"} <= {path.name for path in paths}
    assert [f"{path} {path.stat().st_mode:o}" for path in paths if path.stat().st_mode & 0o077] == []


READ_EVERYTHING = """
import duckdb, json, sys
session = duckdb.connect(sys.argv[1], read_only=True)
tables = session.execute(
    "select schema_name, table_name, comment from duckdb_tables() where not internal order by all"
).fetchall()
views = session.execute("select schema_name, view_name from duckdb_views() where not internal order by all").fetchall()
# DuckDB 1.2 does not show the comments of a view's columns.
columns = (
    "select table_name, column_name, data_type, comment from duckdb_columns() where not internal "
    "and table_name not in (select view_name from duckdb_views()) order by all"
)
macros = (
    "select function_name, parameters, comment from duckdb_functions() "
    "where function_type = 'macro' and not internal order by function_name"
)
found = {
    "tables": tables,
    "columns": session.execute(columns).fetchall(),
    "macros": session.execute(macros).fetchall(),
    "rows": [session.execute(f'from {schema}."{table}" order by all').fetchall() for schema, table, _ in tables],
    "views": {table: session.execute(f'from {schema}."{table}" order by all').fetchall() for schema, table in views},
    "answers": session.execute(sys.argv[2]).fetchall(),
}
print(duckdb.__version__, json.dumps(found, default=str))
"""


@pytest.mark.parametrize(
    "client", ["duckdb==1.2.*", pytest.param("duckdb", marks=pytest.mark.slow, id="the newest of the index")]
)
def test_the_oldest_and_the_newest_client_read_the_same_from_the_published_file(acme, tmp_path, client):
    published = acme.config.warehouse.parent / "published" / "csm_analytics.duckdb"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    installed = subprocess.run([*install, "--target", str(tmp_path), client], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"{client} cannot be installed from the package index: {installed.stderr.strip()[-300:]}")
    answers = ", ".join(f"count(*) filter (where {named(equal)})" for equal in EQUAL)
    question = (
        f"select count(*), {answers} from marts.csm_health_signals "
        "inner join marts.csm_health_scores using (tenant_id, account_id, as_of_date)"
    )
    read: dict[str, dict[str, list]] = {}
    for folder in ("", str(tmp_path)):
        environment = {"PYTHONPATH": folder, "PYTHONNOUSERSITE": "1"}
        asked = [sys.executable, "-c", READ_EVERYTHING, str(published), question]
        answer = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path.parent, env=environment)
        assert answer.returncode == 0, answer.stderr
        read["installed" if folder else "ours"] = json.loads(answer.stdout.partition(" ")[2])
    version = answer.stdout.partition(" ")[0]
    assert version.startswith("1.2.") or client == "duckdb"
    ours, theirs = read["ours"], read["installed"]
    assert any(kind.startswith("ENUM") for _, _, kind, _ in theirs["columns"])
    assert all(comment for *_, comment in theirs["columns"])
    assert len(theirs["macros"]) >= 17
    assert theirs["answers"] == [[theirs["answers"][0][0]] * (len(EQUAL) + 1)]
    assert theirs["tables"] == ours["tables"]
    assert theirs["rows"] == ours["rows"]
    assert theirs["views"] == ours["views"]
    assert "csm_feature_adoption_v0" in theirs["views"]
    assert theirs["columns"] == ours["columns"]
