"""Models read from disk: dependencies from the SQL, grain, columns and checks from the yml."""

import re
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.days.finished_days import LOOKING_BACK
from csm_core.errors import WarehouseError
from csm_core.warehouse.day_status import SCORES_TABLE, UNCOUNTED_TABLE
from csm_core.warehouse.models import SQL_ROOT, load_model, load_models, parse_select, staging_models, version_of

LAYERS = ("intermediate", "marts")
ALL_MODELS = [model for layer in LAYERS for model in load_models(layer).values()]
WITH_SQL = [model for model in ALL_MODELS if model.sql]


def write(folder: Path, sql: str, yml: str = "description: d\ngrain: [a]\ncolumns: {a: the a}") -> Path:
    (folder / "m.sql").write_text(sql, encoding="utf-8")
    (folder / "m.yml").write_text(yml, encoding="utf-8")
    return folder / "m.sql"


def test_dependencies_and_parameters_are_read_from_the_sql(tmp_path):
    sql = """
        -- mentions staging.not_read and $not_used
        with stage as (select a from staging.stg_x where d <= $as_of),
        nested as (select a from stage where a in (select b from run.days))
        select nested.a from nested left join intermediate.int_y using (a)
    """
    model = load_model(write(tmp_path, sql), "marts")
    assert model.dependencies == {"staging.stg_x", "run.days", "intermediate.int_y"}
    assert model.parameters == {"as_of"}


@pytest.mark.parametrize(
    ("sql", "said"), [("selec a", "not a SELECT"), ("select 1 as a; select 2 as a", "2 statements")]
)
def test_what_is_not_one_select_is_refused(tmp_path, sql, said):
    with pytest.raises(WarehouseError, match=said):
        parse_select(sql, tmp_path / "m.sql")


def test_a_model_without_yml_is_refused(tmp_path):
    (tmp_path / "m.sql").write_text("select 1 as a", encoding="utf-8")
    with pytest.raises(WarehouseError, match=r"m\.yml"):
        load_model(tmp_path / "m.sql", "marts")


def test_an_unknown_kind_of_check_is_refused(tmp_path):
    path = write(tmp_path, "select 1 as a", "description: d\ngrain: [a]\nchecks: [{unheard_of: [a]}]")
    with pytest.raises(WarehouseError, match="unheard_of"):
        load_model(path, "marts")


def test_the_version_follows_the_sql_text(tmp_path):
    first = load_model(write(tmp_path, "select 1 as a"), "marts").version
    second = load_model(write(tmp_path, "select 2 as a"), "marts").version
    assert first != second


TOKENS = (
    *("with", "ä", "as", "(", "select", "a", ",", "'x -- y'", "as", "b", ",", "e'it\\'s'", "as", '"c /* d */"', ","),
    *("record", "->>", "'$.é'", ",", "$as_of", "::", "date", ",", "1.5e3", "from", "t", ")"),
    *("select", "b", "from", "ä", "where", "b", "<>", "'it''s'", "order", "by", "b"),
)
COMMENT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="*/"), max_size=8)
BLANK = st.one_of(
    st.sampled_from((" ", "\n", "\t", "\n    ", "\r\n")),
    COMMENT.map(lambda text: f" -- {text}\n"),
    COMMENT.map(lambda text: f" /* {text} */ "),
)


@given(blanks=st.lists(BLANK, min_size=len(TOKENS) + 1, max_size=len(TOKENS) + 1))
def test_comments_and_layout_do_not_change_the_version(blanks):
    laid_out = blanks[0] + "".join(token + blank for token, blank in zip(TOKENS, blanks[1:], strict=True))
    assert version_of(laid_out) == version_of(" ".join(TOKENS))


@given(
    place=st.integers(0, len(TOKENS) - 1),
    change=st.sampled_from((lambda token: "", lambda token: f"{token} {token}", lambda token: f"{token[:-1]}z")),
)
def test_every_other_change_changes_the_version(place, change):
    changed = [*TOKENS[:place], change(TOKENS[place]), *TOKENS[place + 1 :]]
    assert version_of(" ".join(changed)) != version_of(" ".join(TOKENS))


@given(text=st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8), quote=st.sampled_from("'\""))
def test_what_is_quoted_belongs_to_the_version(text, quote):
    def select(quoted: str) -> str:
        return f"select {quote}{quoted.replace(quote, quote + quote)}{quote}"

    assert version_of(select(f"{text} -- x")) != version_of(select(f"{text} -- y"))
    assert version_of(select(f"{text} ")) != version_of(select(f"{text}  "))


def test_the_same_sql_with_other_settings_has_another_version():
    assert len({version_of("select 1"), version_of("select 1", "a"), version_of("select 1", "b")}) == 3


SHARED = "models_of: one\nraw_tables: ['raw.two__{entity}', 'raw.two__{entity}_more']\n"


def shared(root: Path, sql: str) -> Path:
    """A system ``one`` with a model of accounts, and a system ``two`` that shares it."""
    for system in ("one", "two"):
        (root / "staging" / system).mkdir(parents=True)
    (root / "staging" / "one" / "stg_accounts.sql").write_text(sql, encoding="utf-8")
    (root / "staging" / "one" / "stg_accounts.yml").write_text("description: d\ncolumns: {a: the a}", encoding="utf-8")
    (root / "staging" / "two" / "shared_models.yml").write_text(SHARED, encoding="utf-8")
    return root


def test_a_system_has_the_models_of_another_one_over_its_own_raw_tables(tmp_path):
    root = shared(
        tmp_path, "-- raw.one__accounts\nwith r as (select a from raw.one__accounts)\nselect a\nfrom r\norder by a"
    )
    (model,) = staging_models("two", root).values()
    assert (model.name, model.layer, model.table) == ("stg_accounts", "staging/two", "staging/two.stg_accounts")
    assert model.dependencies == {"raw.two__accounts", "raw.two__accounts_more"}
    with duckdb.connect() as connection:
        connection.execute(
            "create schema raw; create table raw.two__accounts as select 2 as a; "
            "create table raw.two__accounts_more as select 1 as a union all select 3"
        )
        assert connection.execute(model.sql).fetchall() == [(1,), (2,), (3,)]


def test_a_model_of_its_own_comes_before_the_shared_one(tmp_path):
    root = shared(tmp_path, "select a from raw.one__accounts, raw.one__features order by a")
    write(root / "staging" / "two", "select a from raw.two__other")
    for suffix in ("sql", "yml"):
        (root / "staging" / "two" / f"m.{suffix}").rename(root / "staging" / "two" / f"stg_accounts.{suffix}")
    assert staging_models("two", root)["accounts"].dependencies == {"raw.two__other"}


def test_a_model_that_reads_more_than_its_raw_table_is_not_shared(tmp_path):
    root = shared(tmp_path, "select a from raw.one__accounts, raw.one__features order by a")
    with pytest.raises(WarehouseError, match=r"shared_models\.yml: .*raw\.one__features.*add a stg_accounts\.sql"):
        staging_models("two", root)


@pytest.mark.parametrize("model", WITH_SQL, ids=lambda model: model.name)
def test_every_model_states_its_grain_and_describes_every_column(model):
    final = model.sql.rsplit("\nselect", 1)[1]
    assert model.description
    assert model.grain
    for column, text in model.columns.items():
        assert text, f"{model.name}.{column} has no description"
        assert column in final, f"{model.name}.yml describes {column}, which the SELECT does not give"
    assert set(model.grain) <= set(model.columns)
    assert model.sql.startswith("-- Grain:")
    assert "select *" not in model.sql
    assert "order by" in final
    if model.partitioned and "as_of_date" in model.grain:
        # A range of days is written day after day, so that a day is read later without the others.
        first_key = final.rsplit("order by", 1)[1].split(",")[0].strip()
        assert first_key.split(".")[-1] == "as_of_date"


def test_a_mart_that_reads_scores_of_earlier_days_is_built_again_when_they_count():
    for model in load_models("marts").values():
        if model.partitioned and re.search(r"\$first_date - ", model.sql) and SCORES_TABLE in model.dependencies:
            assert UNCOUNTED_TABLE in model.dependencies, f"{model.name} must leave out the days in {UNCOUNTED_TABLE}"
            assert model.name in LOOKING_BACK, f"add {model.name} to LOOKING_BACK in csm_core/days/finished_days.py"


def test_there_is_a_yml_for_every_sql_and_no_layer_reads_a_later_one():
    order = ["raw", "staging", "run", "sync", "intermediate", "marts"]
    for path in SQL_ROOT.rglob("*.sql"):
        assert path.with_suffix(".yml").is_file(), path
    for model in WITH_SQL:
        for table in model.dependencies:
            assert order.index(table.split(".")[0]) <= order.index(model.layer), (model.name, table)
