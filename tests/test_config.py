"""The configuration: what overrides what, and errors that say what is wrong, where, and what is allowed."""

from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.config import PROJECT_ROOT, Config, load_config
from csm_core.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "csm.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_embedded_defaults_need_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(environment={})
    assert config.sources[0].path == PROJECT_ROOT / "examples" / "acme"
    assert (config.signals.login_window_days, config.max_rejected_percent) == (90, 5.0)


def test_relative_paths_are_taken_from_the_files_folder(tmp_path):
    file = write(tmp_path, "warehouse: data/w.duckdb\nsources: [{system: files, path: in}]")
    config = load_config(file, {})
    assert config.warehouse == tmp_path / "data" / "w.duckdb"
    assert config.sources[0].path == tmp_path / "in"


def test_the_previous_name_of_the_console_format_is_accepted(tmp_path):
    assert load_config(write(tmp_path, "log_format: people"), {}).log_format == "console"
    assert load_config(write(tmp_path, ""), {"CSM_LOG_FORMAT": "people"}).log_format == "console"
    with pytest.raises(ConfigError, match=r"log_format: .*'console' or 'json'"):
        load_config(write(tmp_path, "log_format: text"), {})


def test_the_environment_overrides_the_file(tmp_path):
    file = write(tmp_path, "timezone: UTC\nsignals: {login_window_days: 60, trend_window_days: 14}")
    environment = {
        "CSM_TIMEZONE": "Europe/Berlin",
        "CSM_SIGNALS__LOGIN_WINDOW_DAYS": "30",
        "CSM_PARTITIONS_START": "2025-02-03",
        "CSM_SOMETHING_ELSE": "left alone",
    }
    config = load_config(file, environment)
    assert config.timezone == "Europe/Berlin"
    assert (config.signals.login_window_days, config.signals.trend_window_days) == (30, 14)
    assert config.partitions_start == date(2025, 2, 3)


@pytest.mark.parametrize("url", ["https://dagster.example.com", "http://127.0.0.1:3000/", "https://h/dagster"])
def test_the_address_of_the_ui_is_an_http_address(tmp_path, url):
    assert load_config(write(tmp_path, f"dagster_url: {url}"), {}).dagster_url == url
    assert load_config(write(tmp_path, ""), {"CSM_DAGSTER_URL": url}).dagster_url == url
    assert load_config(write(tmp_path, ""), {}).dagster_url is None


def test_rates_are_exact_and_include_the_reporting_currency(tmp_path):
    config = load_config(write(tmp_path, "reporting_currency: USD\nfx: {EUR: 1.08, JPY: 0.00671141}"), {})
    assert config.rates == {"EUR": Decimal("1.08"), "JPY": Decimal("0.00671141"), "USD": Decimal(1)}
    same = load_config(write(tmp_path, "reporting_currency: USD\nfx: {EUR: '1.08', JPY: 0.00671141, USD: 1}"), {})
    assert same.rates == config.rates
    assert load_config(write(tmp_path, ""), {}).rates == {}
    # Scores do not depend on rates.
    assert config.config_hash == load_config(write(tmp_path, ""), {}).config_hash


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dagster.example.com", "expected the http(s) address"),
        ("ftp://dagster.example.com", "expected the http(s) address"),
        ("http://", "expected the http(s) address"),
        ("http://host:99999", "expected the http(s) address"),
        ("http://[::1", "expected the http(s) address"),
        ("'http://host/a b'", "expected the http(s) address"),
        ("http://user:hidden-word@host", "must not contain a user, password, query or fragment"),
        ("http://host/?token=hidden-word", "must not contain a user, password, query or fragment"),
    ],
)
def test_an_address_of_the_ui_that_cannot_be_linked_to_is_rejected(tmp_path, url, said):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, f"dagster_url: {url}"), {})
    assert "dagster_url" in str(error.value)
    assert said in str(error.value)


def test_csm_config_names_the_file_and_the_option_wins(tmp_path):
    named = write(tmp_path, "timezone: Asia/Tokyo")
    other = tmp_path / "other.yaml"
    other.write_text("timezone: Europe/Paris", encoding="utf-8")
    assert load_config(None, {"CSM_CONFIG": str(named)}).timezone == "Asia/Tokyo"
    assert load_config(other, {"CSM_CONFIG": str(named)}).timezone == "Europe/Paris"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wharehouse: x", ["unknown key 'wharehouse'", "did you mean 'warehouse'?"]),
        ("engine: {master: local}", ["master is a setting of Spark", "Set kind: spark"]),
        ("engine: {kind: spark, location: /t}", ["set either remote", "or master, such as local[2]"]),
        ("engine: {kind: spark, remote: 'sc://h', master: local, location: /t}", ["set either remote"]),
        ("engine: {kind: spark, master: 'local[2]'}", ["location is required"]),
        ("engine: {kind: spark, master: yarn, location: /t}", ["engine.master", "start a Spark Connect server"]),
        ("engine: {kind: spark, remote: 'h:15002', location: /t}", ["engine.remote", "sc://spark.example:15002"]),
        (
            "engine: {kind: spark, remote: 'sc://h/;token=t0ken;x=1', location: /t}",
            ["CSM_SPARK_TOKEN", "(found 'sc://h/;token=(hidden);x=1')"],
        ),
        ("engine: {kind: spark, master: local, location: tables}", ["engine.location", "an absolute folder"]),
        ("signals: {login_windw_days: 3}", ["'signals.login_windw_days'", "'login_window_days'"]),
        ("policies: [{tenant: a, grean_threshold: 5}]", ["'policies.0.grean_threshold'", "'green_threshold'"]),
        (
            "policies: [{amber_threshold: 80}]",
            ["policies.0", "amber_threshold (80) must be below green_threshold (70)"],
        ),
        ("policies: [{green_threshold: 101}]", ["policies.0.green_threshold", "100", "101"]),
        ("signals: {min_term_months: -1}", ["signals.min_term_months", "greater than or equal to 0", "-1"]),
        ("signals: {min_term_months: 1201}", ["signals.min_term_months", "less than or equal to 1200", "1201"]),
        ("signals: {min_term_months: 1.5}", ["signals.min_term_months", "integer", "1.5"]),
        ("notion: {qbr_internal: top}", ["notion.qbr_internal", "'toggle', 'page' or 'none'", "'top'"]),
        ("notion: {api_version: 2022-06-28}", ["notion.api_version", "'2025-09-03' or '2026-03-11'", "'2022-06-28'"]),
        ("roi: {hours_saved: {feature: exports}}", ["roi.hours_saved", "either minutes_per_event or value_per_event"]),
        ("roi: {hours_saved: {feature: exports, minutes_per_event: 0}}", ["roi.hours_saved.minutes_per_event", "0"]),
        (
            "roi: {hours_saved: {feature: exports, minutes_per_event: 6, unit: h}}",
            ["roi.hours_saved", "unit is the unit of value_per_event"],
        ),
        ("roi: {hours_saved: {featur: exports, minutes_per_event: 6}}", ["'roi.hours_saved.featur'", "'feature'"]),
        ("roi: {Hours saved: {feature: exports, minutes_per_event: 6}}", ["roi", "'Hours saved' is not the name"]),
        ("roi: {actions: {feature: exports, minutes_per_event: 6}}", ["roi", "actions is a metric of every review"]),
        ("fx: {EUR: 1.08}", ["fx: reporting_currency is missing: add", "such as USD"]),
        ("reporting_currency: USD", ["reporting_currency is USD, but there are no rates", "fx: {GBP: 1.27}"]),
        ("reporting_currency: usd\nfx: {EUR: 1.08}", ["reporting_currency: 'usd' is not a currency code", "write USD"]),
        ("reporting_currency: USD\nfx: {eur: 1.08}", ["fx: 'eur' is not a currency code", "write EUR"]),
        ("reporting_currency: USD\nfx: {Euro: 1.08}", ["'Euro' is not a currency code", "such as EUR"]),
        ("reporting_currency: USD\nfx: {EUR: 0}", ["the rate of EUR is 0", "such as EUR: 1.08"]),
        ("reporting_currency: USD\nfx: {EUR: -1.08}", ["the rate of EUR is -1.08, which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: .nan}", ["the rate of EUR is nan, which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: .inf}", ["the rate of EUR is inf, which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: true}", ["the rate of EUR is True, which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: '1,08'}", ["the rate of EUR is '1,08', which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: }", ["the rate of EUR is None, which is not a positive number"]),
        ("reporting_currency: USD\nfx: {EUR: 1.123456789}", ["at most 8 decimal places"]),
        ("reporting_currency: USD\nfx: {EUR: 1000000}", ["the rate of EUR is 1000000", "below 1,000,000"]),
        ("reporting_currency: USD\nfx: {EUR: 1.e+999999}", ["the rate of EUR", "fx"]),
        ("reporting_currency: USD\nfx: {EUR: 1.08, USD: 1.1}", ["its rate is 1: remove USD"]),
        ("reporting_currency: USD\nfx: [EUR]", ["fx: ", "dictionary"]),
        ("signals: {growing_percent: 1000001}", ["signals.growing_percent", "1000000", "1000001"]),
        ("warehouse: ''", ["warehouse: expected the path of a file, such as data/csm.duckdb", "found ''"]),
        ("warehouse: data/..", ["warehouse: expected the path of a file"]),
        ("timezone: Europe/Berlinn", ["timezone", "'Europe/Berlin'", "'Europe/Berlinn'"]),
        ("partitions_start: soon", ["partitions_start", "'soon'"]),
        ("memory_limit: much", ["memory_limit", "'much'"]),
        ("memory_limit: 0GB", ["memory_limit", "at least 16MiB", "'0GB'"]),
        ("memory_limit: 99999999TB", ["memory_limit", "at most 1024TiB"]),
        ("threads: 1000000000", ["threads", "1024", "1000000000"]),
        ("threads: !!int abc", ["line 1, column 10", "threads", "'abc' is not a valid int"]),
        ("threads: 2\ntimezone: UTC\nthreads: 4", ["line 3, column 1", "'threads' appears twice", "in line 1"]),
        (
            "notion: {create_missing_accounts: true, create_missing_accounts: false}",
            ["'notion.create_missing_accounts'"],
        ),
        ("threads: 0b_", ["threads", "'0b_' is not a valid int"]),
        ("partitions_start: 2026-02-30", ["partitions_start", "day value", "'2026-02-30'"]),
        ("partitions_start: 2026-13-01", ["partitions_start", "month value", "'2026-13-01'"]),
        ("partitions_start: 2026-01-01T25:00:00Z", ["partitions_start", "hour value"]),
        ("policies: [{from: 2026-02-30}]", ["policies.0.from", "day value"]),
        ("sources: " + "[" * 2000, ["nested too deeply"]),
        ("sources: &a [*a]", ["contains it"]),
        (
            "sources: [{system: stripe, api: {base_url: 'htp://u:pa55word@h'}}]",
            ["sources.0.api.base_url", "(hidden)@h"],
        ),
        ("1: 2", ["the key 1 is not text"]),
        ("sources: []", ["sources", "at least one source"]),
        ("sources: [{system: files, pth: x}]", ["unknown key 'sources.0.pth'", "did you mean 'path'?"]),
        ("sources: [{system: files}]", ["sources.0.path", "required"]),
        ("sources: [{system: file, path: x}]", ["sources.0.system", "'file'", "did you mean 'files'?"]),
        ("sources: [{path: x}]", ["sources.0", "`system` is missing", "ravenstack"]),
        ("sources: [{system: files, path: x}, {system: files, path: y}]", ["sources", "two", "'files'", "`name`"]),
        ("sources: [{system: files, path: x, entities: [account]}]", ["sources.0.entities", "not an entity: account"]),
        (
            "sources: [{system: hubspot, path: x, accounts: {sgment: industry}}]",
            ["unknown key 'sources.0.accounts.sgment'", "did you mean 'segment'?"],
        ),
        ("sources: [{system: hubspot, path: x, api: {}}]", ["sources.0", "exactly one of path, tables, api"]),
        ("sources: [{system: hubspot, path: x, internal: [notes]}]", ["sources.0.internal.0", "'note'", "'notes'"]),
        ("sources: [{system: hubspot, path: x, account_key: a b}]", ["sources.0.account_key", "'a b'"]),
        (
            "sources: [{system: delighted, path: x, columns: {scor: Mark}}]",
            ["unknown key 'sources.0.columns.scor'", "did you mean 'score'?"],
        ),
        ("- a\n- b", ["expected keys and values"]),
        ("a: [", ["cannot be read as YAML"]),
    ],
)
def test_errors_name_file_key_value_and_what_is_allowed(tmp_path, text, said):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    for part in [str(file), *said]:
        assert part in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"not found: .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml", {})


def test_config_hash_changes_with_what_may_change_a_score_and_with_nothing_else(tmp_path):
    base = load_config(write(tmp_path, "timezone: UTC"), {})
    same = load_config(write(tmp_path, "timezone: Asia/Tokyo\nwarehouse: other.duckdb"), {})
    window = load_config(write(tmp_path, "signals: {nps_window_days: 90}"), {})
    policy = load_config(write(tmp_path, "policies: [{tenant: north, green_threshold: 75}]"), {})
    dated = load_config(write(tmp_path, "policies: [{tenant: north, green_threshold: 75, from: 2026-01-01}]"), {})
    assert base.config_hash == same.config_hash
    assert len({base.config_hash, window.config_hash, policy.config_hash, dated.config_hash}) == 4


@pytest.mark.parametrize("months", [0, 1, 12, 1200])
def test_the_least_term_is_a_parameter_of_the_models_and_changes_the_hash(tmp_path, months):
    base = load_config(write(tmp_path, "timezone: UTC"), {})
    given = load_config(write(tmp_path, f"signals: {{min_term_months: {months}}}"), {})
    assert (base.signals.min_term_months, base.sql_parameters()["min_term_months"]) == (2, 2)
    assert given.sql_parameters()["min_term_months"] == months
    assert given.config_hash != base.config_hash
    assert load_config(write(tmp_path, "signals: {min_term_months: 2}"), {}).config_hash == base.config_hash


def test_the_sample_configuration_is_valid_and_reads_the_bundled_company():
    config = load_config(PROJECT_ROOT / "csm.yaml", {})
    assert config.sources[0].path is not None
    assert config.sources[0].path.is_dir()


def test_the_model_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().timezone = "UTC"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CSM_PARTITIONS_START", "2026-02-30", "day value"),
        ("CSM_THREADS", "!!int abc", "'abc' is not a valid int"),
        ("CSM_WAREHOUSE", "~nosuchuser/x", "there is no such user"),
        ("CSM_SIGNALS__LOGIN_WINDOW_DAYS", "[" * 2000, "nested too deeply"),
        ("CSM_SIGNALS", "[1]", "found [1], set by CSM_SIGNALS"),
        ("CSM_LOG_FORMAT", "loud", "set by CSM_LOG_FORMAT"),
    ],
)
def test_an_error_of_a_variable_names_the_variable(tmp_path, variable, value, said):
    with pytest.raises(ConfigError, match=variable) as rejected:
        load_config(write(tmp_path, "timezone: UTC"), {variable: value})
    assert said in str(rejected.value)


def test_values_that_aliases_multiply_are_rejected_quickly(tmp_path):
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join(['*' + before] * 10)}]")
    with pytest.raises(ConfigError, match="more than 100,000 parts"):
        load_config(write(tmp_path, "\n".join(lines)), {})


@given(st.text() | st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists).map(repr))
def test_any_text_is_a_configuration_or_a_configuration_error(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_config(file, {})
    except ConfigError as error:
        said = str(error)
    else:
        said = str(file)
    assert str(file) in said


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("{}", "2026-03-11"),
        ("notion: {api_version: 2025-09-03}", "2025-09-03"),
        ("notion: {api_version: '2026-03-11'}", "2026-03-11"),
    ],
)
def test_the_api_version_of_notion_may_be_a_date_or_a_text(tmp_path, text, version):
    (tmp_path / "csm.yaml").write_text(text)
    assert load_config(tmp_path / "csm.yaml", {}).notion.api_version == version
