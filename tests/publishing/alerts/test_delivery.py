"""Every digest is delivered once, whatever the receiver does; nothing in it is more than text, and no address leaks."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.delivery import deliver
from csm_core.publishing.alerts.digest import ACCOUNTS, Digest
from csm_core.publishing.alerts.formats import text_lines
from csm_core.publishing.alerts.publish import AlertReport, alert_day, report_data_problem
from csm_core.publishing.alerts.webhook import post_json
from csm_core.redaction import without_secrets
from csm_core.warehouse.alert_settings import AlertRoute, AlertRule, AlertSettings
from tests.publishing.alerts.made_up import day, fill
from tests.publishing.alerts.receiver import PATH, Receiver
from tests.web_server import Failure, drop, refuse, serving, truncate

RED = AlertRule(name="turned_red", when="rag = 'RED'", for_days=1, severity="high")
SLACK = AlertRoute(to="slack", webhook_env="CSM_SLACK_WEBHOOK")


def settings_of(*routes: AlertRoute, **more: Any) -> AlertSettings:
    return AlertSettings(built_in_rules=False, rules=(RED,), routes=routes or (SLACK,), **more)


def clock() -> datetime:
    return datetime(2026, 7, 1, 7, tzinfo=UTC)


@pytest.fixture
def receiver():
    with serving(Receiver()) as server:
        yield server


@pytest.fixture
def warehouse(tmp_path):
    """Two accounts of one owner and one of another, which turn RED on the second day."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        red = [(one, day(number), 80.0 - 40 * number) for one in ("A1", "A2", "B1") for number in (0, 1)]
        fill(connection, red, {"A1": "Ähre & Söhne"})
        yield connection


def alert(
    connection: duckdb.DuckDBPyConnection, settings: AlertSettings, url: str = "", number: int = 1, **more: str
) -> AlertReport:
    environment = {"CSM_SLACK_WEBHOOK": url, **more}
    return alert_day(
        connection, settings, day(0), day(number), clock=clock, environment=environment, pause_seconds=0.001
    )


def statuses(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute("select digest_id, status from sync.alert_digests").fetchall())


# What the receiver does to the first requests, and the status of the digest after the first run.
FAULTS: dict[str, tuple[list[Failure], str]] = {
    "400": ([refuse(400)], "failed"),
    "401": ([refuse(401)], "failed"),
    "404": ([refuse(404)], "failed"),
    "410": ([refuse(410)], "failed"),
    "redirected": ([refuse(302, Location="/elsewhere")], "failed"),
    "busy once": ([refuse(429)], "sent"),
    "busy twice": ([refuse(429), refuse(429)], "sent"),
    "busy": ([refuse(429)] * 3, "failed"),
    "500": ([refuse(500)], "possibly_sent"),
    "502": ([refuse(502)], "possibly_sent"),
    "503": ([refuse(503)], "possibly_sent"),
    "dropped": ([drop], "possibly_sent"),
    "truncated": ([truncate], "sent"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_each_digest_is_delivered_once(warehouse, receiver, fault):
    failures, status = FAULTS[fault]
    receiver.failures = list(failures)
    first = alert(warehouse, settings_of(), receiver.address)
    assert Counter(statuses(warehouse).values()) == Counter([status, "sent"])
    assert (first.delivery.failed, first.delivery.possibly_sent) == (status == "failed", status == "possibly_sent")
    second = alert(warehouse, settings_of(), receiver.address)
    assert second.evaluated_days == 0
    assert Counter(receiver.accepted).most_common(1)[0][1] == 1
    expected = {"sent", status} - {"failed"}
    assert set(statuses(warehouse).values()) == expected
    # The receiver has the others; one that it may have accepted is not sent again.
    asked = Counter(receiver.received)
    assert set(asked) == set(statuses(warehouse))
    if status == "possibly_sent":
        assert set(asked.values()) == {1}
    assert alert(warehouse, settings_of(), receiver.address).delivery.sent == 0
    written = json.dumps(warehouse.execute("from sync.alert_digests").fetchall(), default=str)
    assert "very-secret" not in written + str(first) + str(second)


def test_a_receiver_that_hangs_may_have_accepted(receiver):
    receiver.failures = [lambda _request: time.sleep(0.6)]
    connected: list[bool] = []
    posted = post_json(receiver.address, b"{}", on_connected=lambda: connected.append(True), timeout=0.2)
    assert (posted.outcome, connected) == ("uncertain", [True])
    assert "very-secret" not in posted.problem


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "CSM_SLACK_WEBHOOK is not set"),
        (f"ftp://example.com{PATH}", "CSM_SLACK_WEBHOOK: the address does not begin with http"),
        (f"http://127.0.0.1:9{PATH}", "no connection (ConnectionRefusedError)"),
        (f"http://nobody.invalid{PATH}", "no connection (gaierror)"),
        (f"https://127.0.0.1:9{PATH}", "no connection"),
    ],
)
def test_a_receiver_that_cannot_be_reached_gets_its_digests_from_the_next_run(warehouse, receiver, url, problem):
    first = alert(warehouse, settings_of(), url)
    assert problem in " ".join(first.delivery.problems)
    assert "very-secret" not in str(first)
    assert set(statuses(warehouse).values()) == {"failed"}
    assert alert(warehouse, settings_of(), receiver.address).delivery.sent == 2
    assert sorted(receiver.accepted) == sorted(statuses(warehouse))


def test_a_digest_has_account_score_change_reason_step_and_remainder(warehouse, receiver):
    settings = settings_of(SLACK, max_lines=1)
    report = alert(warehouse, settings, receiver.address)
    assert report.text() == "3 accounts in 2 digests (`csm alerts outbox`)"
    first, second = ledger.load(warehouse)
    assert text_lines(first, 1) == [
        "csm-health: 2 alerts for A@example.com on 2026-06-02",
        "",
        "1. Ähre & Söhne (A1) [high: turned red]",
        "   RED, score 40.0",
        "   Why: usage trend -11.0 (3 events)",
        "   Next: Ask the main users what changed and agree on one use case to restart.",
        "And 1 more account: `csm alerts list` lists all.",
    ]
    assert [line.account_id for line in second.lines] == ["B1"]
    texts = [block["text"]["text"] for block in receiver.bodies[0]["blocks"]]
    assert texts[1].startswith("Ähre & Söhne (A1)  [high: turned red]\nRED, score 40.0\nWhy:")
    assert texts[2] == "And 1 more account: `csm alerts list` lists all."


def test_resolved_alerts_are_one_line(warehouse):
    later = [(one, day(number), 80.0) for one in ("A1", "A2", "B1") for number in range(2, 7)]
    red = [(one, day(1), 40.0) for one in ("A1", "A2", "B1")]
    fill(warehouse, [*red, *later])
    settings = settings_of(AlertRoute(to="outbox"))
    for number in range(1, 7):
        alert(warehouse, settings, number=number)
    assert Counter(digest.day for digest in ledger.load(warehouse)) == {day(1): 2, day(5): 2}
    last = ledger.load(warehouse, day=day(5))[0]
    assert last.alerts == []
    assert text_lines(last, 20)[-1] == "Resolved: Account A1 (A1) turned red; Account A2 (A2) turned red"


def test_routes_take_the_owners_and_severities_that_they_state(warehouse):
    settings = settings_of(
        AlertRoute(name="all", to="outbox"),
        AlertRoute(name="bobs", to="outbox", owner="B@EXAMPLE.com"),
        AlertRoute(name="severe", to="outbox", severity="critical"),
    )
    alert(warehouse, settings)
    assert [(one.route, one.owner, len(one.lines)) for one in ledger.load(warehouse)] == [
        ("all", "A@example.com", 2),
        ("all", "B@example.com", 1),
        ("bobs", "B@example.com", 1),
    ]


EVIL = "<!channel> *b* <https://evil.example|x>\r\nBcc: all@example.com\x1b[31m\u202e"


def evil_warehouse(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, [("A1", day(1), 40.0)], {"A1": EVIL})
    connection.execute("update intermediate.int_account_days set csm_owner = ?", [f"x@example.com\n{EVIL}"])


def test_names_are_text_in_slack(warehouse, receiver):
    evil_warehouse(warehouse)
    alert(warehouse, settings_of(), receiver.address)
    (body,) = receiver.bodies
    assert {block["text"]["type"] for block in body["blocks"]} == {"plain_text"}
    assert all(len(block["text"]["text"]) <= 3000 for block in body["blocks"])
    assert "<" not in body["text"].replace("&lt;", "")
    assert not set("\r\x1b\u202e") & set("".join(block["text"]["text"] for block in body["blocks"]))


def test_json_is_signed_and_the_receiver_can_tell_a_repetition(warehouse, receiver):
    evil_warehouse(warehouse)
    route = AlertRoute(to="webhook", webhook_env="CSM_SLACK_WEBHOOK", key_env="CSM_SIGNING_KEY")
    report = alert(warehouse, settings_of(route), receiver.address, CSM_SIGNING_KEY="k3y-of-the-receiver")
    (asked,), (body,) = receiver.asked, receiver.bodies
    headers = {name.lower(): value for name, value in asked.headers.items()}
    signed = headers["x-csm-timestamp"].encode() + b"." + asked.body
    expected = hmac.new(b"k3y-of-the-receiver", signed, hashlib.sha256).hexdigest()
    assert headers["x-csm-signature"] == f"sha256={expected}"
    assert headers["idempotency-key"] == body["id"] == ledger.load(warehouse)[0].digest_id
    assert (body["accounts"][0]["account_id"], body["accounts"][0]["rules"]) == ("A1", ["turned_red"])
    assert report.delivery.sent == 1
    assert alert(warehouse, settings_of(route), receiver.address).delivery.sent == 0


def test_a_draft_is_addressed_to_the_owner_and_a_name_cannot_add_a_header(warehouse, tmp_path):
    folder = tmp_path / "out" / "drafts"
    route = AlertRoute(to="email_draft", folder=folder)
    alert(warehouse, settings_of(route))
    messages = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in sorted(folder.iterdir())
    ]
    assert {message["To"] for message in messages} == {"A@example.com", "B@example.com"}
    assert {path.suffix for path in folder.iterdir()} == {".eml"}
    assert any("Ähre & Söhne (A1)" in message.get_content() for message in messages)
    for path in folder.iterdir():
        path.unlink()
    warehouse.execute("delete from sync.alert_states; delete from sync.alert_days; delete from sync.alert_digests")
    evil_warehouse(warehouse)
    alert(warehouse, settings_of(route))
    (draft,) = folder.iterdir()
    message = email.message_from_bytes(draft.read_bytes(), policy=email.policy.default)
    assert "Bcc" not in message
    assert message["To"] is None
    assert set(message.keys()) <= {
        *("Subject", "Date", "Message-ID", "X-Unsent", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")
    }


def test_a_draft_that_a_killed_run_was_writing_is_written_again_once(warehouse, tmp_path):
    route = AlertRoute(to="email_draft", folder=tmp_path / "out")
    alert(warehouse, settings_of(route))
    warehouse.execute("update sync.alert_digests set status = 'sending'")
    assert alert(warehouse, settings_of(route)).delivery.sent == 2
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_digest_that_a_killed_run_was_posting_is_marked_and_not_posted_again(warehouse, receiver):
    alert(warehouse, settings_of(), receiver.address)
    warehouse.execute("update sync.alert_digests set status = 'sending'")
    report = alert(warehouse, settings_of(), receiver.address)
    assert (report.delivery.sent, report.delivery.possibly_sent) == (0, 2)
    assert len(receiver.asked) == 2
    assert "2 possibly sent" in report.text()


def test_a_digest_of_a_removed_route_is_not_sent_and_old_news_never_is(warehouse, receiver):
    alert(warehouse, settings_of(), "")
    gone = alert(warehouse, settings_of(AlertRoute(to="outbox")))
    assert "the configuration has no route slack" in " ".join(gone.delivery.problems)
    late = deliver(
        warehouse,
        settings_of(),
        day(20),
        kinds=(ACCOUNTS,),
        clock=clock,
        environment={"CSM_SLACK_WEBHOOK": receiver.address},
    )
    assert (late.sent, late.failed) == (0, 0)
    assert receiver.asked == []


def held(connection: duckdb.DuckDBPyConnection, number: int, status: str, failed: str = "portfolio_swing") -> None:
    connection.execute("delete from run.days_status where as_of_date = ?", [day(number)])
    connection.execute(
        "insert into run.days_status (as_of_date, status, failed_checks, message, checks_passed, changed_at) "
        "values (?, ?, ?, 'mean score fell', false, now()::timestamp)",
        [day(number), status, failed if status == "held" else ""],
    )


def test_a_broken_feed_that_turns_ninety_percent_red_is_one_message_to_the_data_team(warehouse, receiver):
    accounts = [f"{letter}{number}" for letter in "AB" for number in range(50)]
    green = [(one, day(0), 80.0) for one in accounts]
    broken = [(one, day(number), 80.0 if one.endswith("9") else 10.0) for one in accounts for number in (1, 2, 3)]
    fill(warehouse, [*green, *broken, *((one, day(4), 80.0) for one in accounts)])
    data_team = AlertRoute(name="data_team", to="slack", webhook_env="CSM_DATA_WEBHOOK")
    settings = settings_of(SLACK, data_team)
    environment = {"CSM_SLACK_WEBHOOK": f"{receiver.url}/owners", "CSM_DATA_WEBHOOK": f"{receiver.url}/data"}

    def problem(number: int) -> AlertReport | None:
        return report_data_problem(warehouse, settings, day(number), clock=clock, environment=environment)

    for number in (0, 4):
        held(warehouse, number, "complete")
    for number in (1, 2, 3):
        held(warehouse, number, "held")
    warehouse.execute("delete from run.days_status where as_of_date = ?", [day(4)])
    scores = warehouse.execute("select * from marts.csm_health_scores where as_of_date = ?", [day(4)]).fetchall()
    warehouse.execute("delete from marts.csm_health_scores where as_of_date = ?", [day(4)])
    alert_day(warehouse, settings, day(0), day(0), clock=clock, environment=environment)
    for number in (1, 1, 2, 3):
        report = problem(number)
        assert report
    assert receiver.paths == ["/data"]
    text = json.dumps(receiver.bodies[0])
    assert f"{day(1)} is held by portfolio_swing" in text
    assert "mean score fell" in text
    # The feed is repaired: no account was ever RED on a day that counts.
    warehouse.execute(
        "insert into marts.csm_health_scores select * from (values "
        + ", ".join("(" + ", ".join("null" if value is None else f"'{value}'" for value in row) + ")" for row in scores)
        + ")"
    )
    held(warehouse, 4, "complete")
    alert_day(warehouse, settings, day(4), day(4), clock=clock, environment=environment)
    assert receiver.paths == ["/data"]
    assert problem(3) is None


def test_another_failed_check_is_another_message(warehouse):
    fill(warehouse, [("A1", day(number), 40.0) for number in range(3)])
    settings = settings_of()
    found = ("portfolio_swing", "portfolio_swing", "portfolio_swing,usage_delivered")
    for number, failed in enumerate(found):
        held(warehouse, number, "held", failed)
    for number in range(len(found)):
        report_data_problem(warehouse, settings, day(number), clock=clock)
    assert [(one.day, one.route) for one in ledger.load(warehouse)] == [(day(0), "data_team"), (day(2), "data_team")]


def test_errors_and_digests_contain_no_address_of_the_environment(warehouse, receiver, monkeypatch, caplog):
    monkeypatch.setenv("CSM_SLACK_WEBHOOK", receiver.address)
    fill(warehouse, [("A1", day(1), 40.0)], {"A1": f"at {receiver.address}"})
    receiver.failures = [refuse(404)]
    report = alert_day(warehouse, settings_of(), day(0), day(1), clock=clock)
    rows = [
        str(warehouse.execute(f"from sync.{table}").fetchall())
        for table in ("alert_digests", "alert_states", "alert_days")
    ]
    assert "very-secret" not in "".join(rows) + str(report) + caplog.text
    alert_day(warehouse, settings_of(), day(0), day(1), clock=clock)
    assert "very-secret" not in json.dumps(receiver.bodies)
    assert without_secrets(receiver.address) == "(hidden)"


def test_a_digest_is_there_once_per_route_owner_and_day(warehouse):
    alert(warehouse, settings_of(AlertRoute(to="outbox")))
    (first, *_), before = ledger.load(warehouse), len(ledger.load(warehouse))
    ledger.add(warehouse, ledger.LIVE, [Digest(first.digest_id, "x", "", day(1), ACCOUNTS, first.intended_at)])
    assert len(ledger.load(warehouse)) == before


def test_a_backfill_of_earlier_days_changes_and_sends_nothing(warehouse):
    settings = settings_of(AlertRoute(to="outbox"))
    alert(warehouse, settings)
    before = [warehouse.execute(f"from sync.{name}").fetchall() for name in ("alert_states", "alert_events")]
    fill(warehouse, [(one, day(number), 10.0) for one in ("A1", "C1") for number in (-3, -2, 0, 1)])
    report = alert(warehouse, settings)
    assert (report.evaluated_days, report.delivery.sent) == (0, 0)
    assert [warehouse.execute(f"from sync.{name}").fetchall() for name in ("alert_states", "alert_events")] == before
