"""The alerts of a configuration: conditions that cannot do anything but compare, and settings that fit together."""

from pathlib import Path

import duckdb
import pytest

from csm_core.config import load_config
from csm_core.errors import ConfigError
from csm_core.warehouse.alert_conditions import ALERT_COLUMNS, ConditionError, checked_condition
from csm_core.warehouse.alert_settings import BUILT_IN_RULES

ALLOWED = [
    "rag = 'RED'",
    "  score_change_7d <= -10  ",
    "days_to_renewal between 0 and 60 and rag <> 'GREEN'",
    "not should_alert or coalesce(mrr, 0) > 1000.50",
    "plan in ('pro', 'enterprise') and segment is not null",
    "renewal_date < date '2026-12-31'",
    "case when segment = 'smb' then score < 40 else score < 60 end",
    "account_name like 'A%' and contains(missing_signals, 'nps_score')",
    "rag = 'RED' -- a comment",
    "Score < 50",
]
REJECTED = {
    "": "the condition is empty",
    "account_name": "of type VARCHAR, not BOOLEAN",
    "rga = 'RED'": "there is no column 'rga' at position 1",
    "rag = 'RED' and scor < 5": "there is no column 'scor' at position 17",
    "account_name = 'é' and scor < 5": "there is no column 'scor' at position 24",
    "rag = ": "syntax error",
    "rag = 'RED'; drop table x": "syntax error",
    "rag = 'RED') ; drop table x; select (true": "more than one expression",
    "rag = 'RED') from marts.csm_qbr where (true": "more than one expression",
    "rag = 'RED'), (score < 5": "more than one expression",
    "true) union select (true": "more than one expression",
    "rag = (select 'RED')": "a subquery is not allowed at position",
    "exists (select 1)": "a subquery is not allowed",
    "length(read_text('/etc/passwd')) > 0": "the function 'read_text' is not allowed at position 8",
    "getenv('CSM_TOKEN') = 'x'": "the function 'getenv' is not allowed at position 1",
    "current_setting('home_directory') = ''": "the function 'current_setting' is not allowed",
    "count(*) > 1": "the function 'count_star' is not allowed",
    "row_number() over () = 1": "window as an expression is not allowed",
    "score < $1": "a parameter is not allowed at position 9",
    "account_name + 1 > 2": "No function matches",
    "rag = 'GREEN' or rag = 'REED'": "rag is never 'REED' at position 24; its values are GREEN, AMBER, RED",
    "usage_trend in ('declining', 'falling')": "usage_trend is never 'falling' at position 30",
    "plan > date '2026-01-01'": "Cannot compare values of type VARCHAR and type DATE",
    "main.rag = 'RED'": "there is no column 'main.rag'",
}


@pytest.mark.parametrize("text", ALLOWED)
def test_a_condition_on_columns_is_allowed(text):
    assert checked_condition(text) == text.strip()


@pytest.mark.parametrize(("text", "reason"), REJECTED.items())
def test_a_condition_that_does_more_is_rejected_with_the_position(text, reason):
    with pytest.raises(ConditionError) as error:
        checked_condition(text)
    assert reason in str(error.value)


def test_the_built_in_rules_have_valid_conditions_and_names():
    for rule in BUILT_IN_RULES:
        assert type(rule).model_validate(rule.model_dump()) == rule
    assert len({rule.name for rule in BUILT_IN_RULES}) == 6


def written(folder: Path, text: str) -> Path:
    file = folder / "csm.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_rules_and_routes_are_read_and_a_rule_replaces_the_built_in_one_of_its_name(tmp_path):
    alerts = load_config(
        written(
            tmp_path,
            "alerts:\n"
            "  rules: [{name: turned_red, when: score < 30, severity: critical}, {name: mine, when: seats = 0}]\n"
            "  routes: [{to: slack, webhook_env: CSM_SLACK_WEBHOOK}, {to: email_draft, folder: out, severity: high}]\n",
        ),
        {},
    ).alerts
    assert [rule.name for rule in alerts.active_rules][-2:] == ["turned_red", "mine"]
    assert len(alerts.active_rules) == 7
    assert [route.label for route in alerts.account_routes] == ["slack", "email_draft"]
    assert alerts.account_routes[1].folder == tmp_path / "out"
    assert alerts.data_route.to == "outbox"
    alone = load_config(written(tmp_path, "alerts: {built_in_rules: false}"), {}).alerts
    assert alone.active_rules == ()
    assert [route.to for route in alone.account_routes] == ["outbox"]


SMTP = "to: smtp, host: mail.example.com, from: csm@example.com"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{name: a, when: rga = 1}]", "alerts.rules.0.when: rule a: there is no column 'rga' at position 1"),
        ("rules: [{name: A b, when: rag = 'RED'}]", "alerts.rules.0.name: expected a name of lower-case letters"),
        ("rules: [{name: a, when: should_alert, clear_days: 1}]", "clear_days: Input should be greater than or equal"),
        ("rules: [{name: a, when: should_alert}, {name: a, when: is_customer}]", "two rules are called 'a'"),
        ("routes: [{to: outbox}, {to: outbox}]", "two routes are called 'outbox'"),
        ("routes: [{to: slack}]", "webhook_env is required for to: slack"),
        ("routes: [{to: outbox, folder: x}]", "folder is not a setting of to: outbox"),
        ("routes: [{to: smtp, host: mail.example.com}]", "from is required for to: smtp"),
        ("routes: [{to: slack, webhook_env: A, from: a@example.com}]", "from is not a setting of to: slack; remove it"),
        (f"routes: [{{{SMTP}, user_env: CSM_USER}}]", "user_env and password_env must be set together"),
        (f"routes: [{{{SMTP}, password_env: hunter2}}]", "routes.0.password_env: expected the name of an environment"),
        (f"routes: [{{{SMTP}, security: none}}]", "security: none is only for a mail server on this machine"),
        (f"routes: [{{{SMTP}, recipient: 'A <a@b.de>'}}]", "recipient: expected an e-mail address without a name"),
        (f"routes: [{{{SMTP}, name: data_team}}]", "recipient is required, because data problems have no owner"),
        (f"routes: [{{{SMTP}, owner: Ann}}]", "recipient is required, because the owner is not an e-mail address"),
        ("routes: [{to: smtp, host: 'https://x', from: a@example.com}]", "routes.0.host: the host is not valid"),
        (f"routes: [{{{SMTP}, port: 0}}]", "alerts.routes.0.port: "),
        ("routes: [{to: apprise}]", "url_env is required for to: apprise"),
        ("routes: [{to: apprise, url_env: 'json://x/y'}]", "routes.0.url_env: expected the name of an environment"),
        ("routes: [{to: pigeon}]", "alerts.routes.0.to: Input should be"),
        ("max_line: 3", "unknown key 'alerts.max_line'; did you mean 'max_lines'?"),
    ],
)
def test_settings_that_do_not_fit_are_rejected_with_their_key(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        load_config(written(tmp_path, f"alerts:\n  {text}\n"), {})
    assert message in str(error.value)
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "port"),
    [
        (SMTP, 587),
        (f"{SMTP}, security: tls", 465),
        (f"{SMTP}, security: tls, port: 2465", 2465),
        ("to: smtp, host: localhost, security: none, from: csm@example.com", 587),
        ("to: smtp, host: '[::1]', security: none, port: 25, from: csm@example.com", 25),
    ],
)
def test_a_mail_server_has_the_port_of_its_security(tmp_path, text, port):
    (route,) = load_config(written(tmp_path, f"alerts: {{routes: [{{{text}}}]}}"), {}).alerts.account_routes
    assert (route.sender, route.mail_port) == ("csm@example.com", port)
    assert (route.mail_recipient("ann@example.com"), route.mail_recipient("Ann")) == ("ann@example.com", None)


def test_an_address_in_place_of_its_variable_is_not_repeated(tmp_path):
    with pytest.raises(ConfigError) as error:
        load_config(
            written(
                tmp_path, "alerts: {routes: [{to: slack, webhook_env: 'https://hooks.example/T0/B0/very-secret'}]}"
            ),
            {},
        )
    assert "expected the name of an environment variable" in str(error.value)
    assert "very-secret" not in str(error.value)


def test_the_columns_of_conditions_are_all_usable():
    with duckdb.connect() as connection:
        for name, kind in ALERT_COLUMNS.items():
            assert connection.execute(f"select cast(null as {kind}) as {name}").fetchall() == [(None,)]
            assert checked_condition(f"{name} is null") == f"{name} is null"
