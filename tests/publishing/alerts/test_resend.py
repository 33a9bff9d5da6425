"""A digest that may have arrived is sent again only by `csm alerts resend`, and its outcome is recorded."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
import yaml

from csm_core.publishing.alerts.publish import alert_day
from csm_core.warehouse.database import Warehouse
from tests.conftest import Company, make_company
from tests.in_process import Done, csm
from tests.publishing.alerts.made_up import day, fill
from tests.publishing.alerts.receiver import Receiver
from tests.web_server import refuse, serving

ROUTES = [
    {"to": "slack", "webhook_env": "SLACK"},
    {"name": "hook", "to": "webhook", "webhook_env": "HOOK", "key_env": "KEY"},
]
RULE = {"name": "turned_red", "when": "rag = 'RED'"}


@pytest.fixture
def receivers():
    with serving(Receiver()) as slack, serving(Receiver()) as hook:
        yield {"SLACK": slack, "HOOK": hook}


def environment_of(receivers: dict[str, Receiver]) -> dict[str, str]:
    return {"KEY": "a-key-of-the-webhook", **{name: server.address for name, server in receivers.items()}}


@pytest.fixture
def company(tmp_path, receivers) -> Company:
    """Both routes have failed after the first of two owners' digests was posted; Slack has accepted the second."""
    one = make_company(tmp_path, tmp_path, alerts={"built_in_rules": False, "rules": [RULE], "routes": ROUTES})
    receivers["SLACK"].failures = [refuse(500)]
    receivers["HOOK"].failures = [refuse(502), refuse(502)]
    with Warehouse.from_config(one.config).connect() as connection:
        fill(connection, [(account, day(0), 40.0) for account in ("A1", "B1")])
        alert_day(
            connection,
            one.config.alerts,
            day(0),
            day(0),
            clock=lambda: datetime(2026, 7, 1, tzinfo=UTC),
            environment=environment_of(receivers),
            pause_seconds=0.001,
        )
    return one


def command(company: Company, receivers, *arguments: str) -> Done:
    environment = {**company.environment, **environment_of(receivers)}
    done = csm("alerts", *arguments, folder=company.folder, environment=environment)
    assert "very-secret" not in done.stdout + done.stderr
    return done


def statuses(company: Company) -> list[tuple[str, str, str, int]]:
    return company.query("select route, owner, status, attempts from sync.alert_digests order by all")


def test_digests_are_listed_then_sent_once_by_route(company, receivers):
    before = statuses(company)
    assert before == [
        ("hook", "A@example.com", "possibly_sent", 1),
        ("hook", "B@example.com", "possibly_sent", 1),
        ("slack", "A@example.com", "possibly_sent", 1),
        ("slack", "B@example.com", "sent", 1),
    ]
    listed = command(company, receivers, "resend", "--dry-run")
    assert listed.status == 0
    assert listed.stdout.count("possibly_sent") == 3
    assert listed.stdout.endswith("3 digests would be sent again; nothing was sent\n")
    assert statuses(company) == before

    sent = command(company, receivers, "resend", "--route", "slack", "--day", str(day(0)))
    assert sent.status == 0
    assert f"[slack: sent] csm-health: 1 alert for A@example.com on {day(0)}" in sent.stdout
    assert sent.stdout.endswith("1 of 1 digest sent again\n")
    assert ("slack", "A@example.com", "sent", 2) in statuses(company)
    assert Counter(receivers["SLACK"].accepted).most_common(1)[0][1] == 1

    receivers["HOOK"].failures = [refuse(500), refuse(404)]
    failed = command(company, receivers, "resend", "--json")
    assert failed.status == 1
    outcomes = {(one["owner"], one["status"], one["attempts"]) for one in json.loads(failed.stdout)}
    assert outcomes == {("A@example.com", "possibly_sent", 2), ("B@example.com", "failed", 2)}

    # The receiver certainly does not have the failed one, so a run sends it.
    again = command(company, receivers, "resend")
    assert again.stdout.endswith("1 of 1 digest sent again\n")
    assert ("hook", "A@example.com", "sent", 3) in statuses(company)
    assert ("hook", "B@example.com", "failed", 2) in statuses(company)
    assert command(company, receivers, "resend").stdout == f"no digest of {day(0)} is possibly_sent\n"
    assert (
        command(company, receivers, "resend", "--day", "2026-01-01").stdout
        == "no digest of 2026-01-01 is possibly_sent\n"
    )


def test_a_digest_that_a_killed_run_was_sending_can_be_sent_again(company, receivers):
    with Warehouse.from_config(company.config).connect() as connection:
        connection.execute("update sync.alert_digests set status = 'sending' where route = 'hook'")
    assert command(company, receivers, "resend", "--route", "hook", "--dry-run").stdout.count("[hook: sending") == 2
    assert command(company, receivers, "resend", "--route", "hook").status == 0
    assert [row[2:] for row in statuses(company) if row[0] == "hook"] == [("sent", 2), ("sent", 2)]


def test_a_route_that_is_no_longer_configured_is_not_sent(company, receivers):
    stated = yaml.safe_load(company.config_file.read_text())
    stated["alerts"]["routes"] = ROUTES[:1]
    company.config_file.write_text(yaml.safe_dump(stated))
    done = command(company, receivers, "resend", "--route", "hook")
    assert done.status == 1
    assert "the configuration has no route hook; add it" in done.stdout
    assert receivers["HOOK"].accepted == []
