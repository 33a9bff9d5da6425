"""A digest is sent by e-mail once, whatever the mail server does; the login is in no error, log or table."""

from __future__ import annotations

import email
import email.policy
import json
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import duckdb
import pytest

from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.mail import MailServer, send_mail
from csm_core.publishing.alerts.publish import AlertReport, alert_day
from csm_core.warehouse.alert_settings import AlertRoute, AlertRule, AlertSettings
from tests.publishing.alerts.made_up import day, fill
from tests.publishing.alerts.mail_server import DROP, HANG, PASSWORD, USER, Mail, MailReceiver

SENDER = "csm@example.com"
LOGIN = {"user_env": "CSM_SMTP_USER", "password_env": "CSM_SMTP_PASSWORD"}
VARIABLES = {"CSM_SMTP_USER": USER, "CSM_SMTP_PASSWORD": PASSWORD}


@contextmanager
def running(server: MailReceiver):
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def mail_server():
    with running(MailReceiver()) as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 with its key in one file, which nobody trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which writes the certificate")
    file = tmp_path_factory.mktemp("certificate") / "server.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", *kind, *names, "-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with file.open("a", encoding="ascii") as both:
        both.write(file.with_suffix(".crt").read_text(encoding="ascii"))
    return file


@pytest.fixture
def warehouse(tmp_path):
    """Two accounts of one owner and one of another, which are RED on the second day."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        red = [(one, day(number), 80.0 - 40 * number) for one in ("A1", "A2", "B1") for number in (0, 1)]
        fill(connection, red, {"A1": "Ähre & Söhne"})
        yield connection


def route_to(server: MailReceiver, **more: Any) -> AlertRoute:
    return AlertRoute(**{"to": "smtp", "host": "127.0.0.1", "port": server.port, "sender": SENDER} | more)


def alert(connection: duckdb.DuckDBPyConnection, route: AlertRoute, **variables: str) -> AlertReport:
    settings = AlertSettings(
        built_in_rules=False,
        rules=(AlertRule(name="turned_red", when="rag = 'RED'", for_days=1, severity="high"),),
        routes=(route,),
    )
    now = datetime(2026, 7, 1, 7, tzinfo=UTC)
    return alert_day(connection, settings, day(0), day(1), clock=lambda: now, environment=variables)


def parsed(mail: Mail) -> EmailMessage:
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def statuses(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    return Counter(status for (status,) in connection.execute("select status from sync.alert_digests").fetchall())


def test_each_owner_gets_the_message_of_the_draft(warehouse, mail_server):
    report = alert(warehouse, route_to(mail_server, security="none"))
    assert (report.delivery.sent, report.delivery.problems) == (2, ())
    assert [(mail.sender, mail.recipient) for mail in mail_server.accepted] == [
        (SENDER, "A@example.com"),
        (SENDER, "B@example.com"),
    ]
    first = parsed(mail_server.accepted[0])
    assert (first["From"], first["To"]) == (SENDER, "A@example.com")
    assert first["Subject"] == "csm-health: 2 alerts for A@example.com on 2026-06-02"
    assert "Ähre & Söhne (A1)" in first.get_content()
    assert first["X-Unsent"] is None
    ids = [f"<{digest.digest_id}@csm-health.invalid>" for digest in ledger.load(warehouse)]
    assert [parsed(mail)["Message-ID"] for mail in mail_server.accepted] == ids
    assert alert(warehouse, route_to(mail_server, security="none")).delivery.sent == 0
    assert len(mail_server.accepted) == 2


# What the server does to the first connection, the status of its digest after the first run, and the problem.
FAULTS: dict[str, tuple[dict[str, str], str, str]] = {
    "no service": ({"greeting": "554 5.3.2 no service"}, "failed", "rejected the connection (554 5.3.2)"),
    "greeting dropped": ({"greeting": DROP}, "failed", "failed (SMTPServerDisconnected); check `host`"),
    "sender refused": ({"MAIL": "550 5.7.1 not you"}, "failed", "the sender (550 5.7.1); check `from`"),
    "recipient refused": ({"RCPT": "550 5.1.1 x"}, "failed", "rejected the recipient (550 5.1.1); check the owner"),
    "greylisted": ({"RCPT": "451 4.7.1 later"}, "failed", "rejected the recipient (451 4.7.1)"),
    "forwarded": ({"RCPT": "251 will forward"}, "sent", ""),
    "dropped before the content": ({"DATA": DROP}, "failed", "the connection to the mail server failed"),
    "content not wanted": ({"DATA": "452 4.3.1 full"}, "failed", "rejected the message (452 4.3.1)"),
    "spam": ({"content": "554 5.7.1 spam"}, "failed", "rejected the message (554 5.7.1)"),
    "busy": ({"content": "451 4.3.0 busy"}, "failed", "rejected the message (451 4.3.0)"),
    "dropped after the content": ({"content": DROP}, "possibly_sent", "failed after the message was sent"),
    "no status": ({"content": "well"}, "possibly_sent", "answered with something else than a status"),
    "quit dropped": ({"QUIT": DROP}, "sent", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_each_digest_is_sent_once(warehouse, mail_server, fault):
    failure, status, problem = FAULTS[fault]
    mail_server.faults = [failure]
    first = alert(warehouse, route_to(mail_server, security="none"))
    assert statuses(warehouse) == Counter([status, "sent"])
    assert problem in " ".join(first.delivery.problems)
    assert bool(problem) == bool(first.delivery.problems)
    alert(warehouse, route_to(mail_server, security="none"))
    assert set(statuses(warehouse)) == {"sent", status} - {"failed"}
    accepted = Counter(mail.recipient for mail in mail_server.accepted)
    assert set(accepted.values()) == {1}
    if status == "possibly_sent":
        # The server may have accepted what it has read: it is not sent again.
        assert len(mail_server.read) == 2
    else:
        assert set(accepted) == {"A@example.com", "B@example.com"}


@pytest.mark.parametrize(
    ("step", "outcome"),
    [(step, "unreachable") for step in ("greeting", "EHLO", "MAIL", "RCPT", "DATA")] + [("content", "uncertain")],
)
def test_a_server_that_hangs_may_have_accepted_only_what_was_sent(mail_server, step, outcome):
    mail_server.faults = [{step: HANG}]
    begun: list[bool] = []
    posted = send_mail(
        MailServer("127.0.0.1", mail_server.port, "none"),
        SENDER,
        "a@example.com",
        b"Subject: x\r\n\r\n.\r\n",
        on_content=lambda: begun.append(True),
        timeout=0.2,
    )
    assert (posted.outcome, begun) == (outcome, [True] * (step == "content"))
    assert "TimeoutError" in posted.problem


def test_a_line_with_a_full_stop_does_not_end_the_message(mail_server):
    text = b"Subject: x\r\n\r\n.\r\n..\r\nthe end\r\n"
    posted = send_mail(MailServer("127.0.0.1", mail_server.port, "none"), SENDER, "a@example.com", text)
    assert posted.outcome == "accepted"
    assert [mail.content for mail in mail_server.accepted] == [text]


def test_a_server_that_is_not_there_gets_its_digests_from_the_next_run(warehouse, mail_server):
    first = alert(warehouse, route_to(mail_server, port=9, security="none"))
    assert "ConnectionRefusedError" in " ".join(first.delivery.problems)
    assert statuses(warehouse) == Counter(failed=2)
    assert alert(warehouse, route_to(mail_server, security="none")).delivery.sent == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_messages_and_logins_are_encrypted_with_a_verified_certificate(warehouse, certificate, monkeypatch, at_once):
    with running(MailReceiver(certificate, tls_at_once=at_once, login=True)) as server:
        route = route_to(server, security="tls" if at_once else None, **LOGIN)
        untrusted = alert(warehouse, route, **VARIABLES)
        assert "the encrypted connection to the mail server failed (SSLCertVerificationError)" in str(untrusted)
        assert statuses(warehouse) == Counter(failed=2)
        assert {"AUTH", "MAIL"}.isdisjoint(server.steps)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert alert(warehouse, route, **VARIABLES).delivery.sent == 2
        assert [mail.encrypted for mail in server.accepted] == [True, True]


def test_nothing_is_sent_to_a_server_without_the_required_tls(warehouse, mail_server):
    mail_server.login = True
    report = alert(warehouse, route_to(mail_server, **LOGIN), **VARIABLES)
    assert "the mail server does not offer STARTTLS; if its port expects TLS at once" in str(report)
    assert statuses(warehouse) == Counter(failed=2)
    assert set(mail_server.steps) == {"greeting", "EHLO"}


def test_a_rejected_login_is_repeated_nowhere(warehouse, mail_server, caplog, capfd):
    mail_server.login = True
    wrong = {"CSM_SMTP_USER": "nobody@mail.example", "CSM_SMTP_PASSWORD": "another-secret"}
    route = route_to(mail_server, security="none", **LOGIN)
    report = alert(warehouse, route, **wrong)
    assert "rejected the login (535 5.7.8); check the variables of `user_env` and `password_env`" in str(report)
    table = json.dumps(warehouse.execute("from sync.alert_digests").fetchall(), default=str)
    printed = capfd.readouterr()
    for secret in (USER, PASSWORD, *wrong.values()):
        assert secret not in str(report) + table + caplog.text + printed.out + printed.err
    assert alert(warehouse, route, **VARIABLES).delivery.sent == 2


@pytest.mark.parametrize(
    ("offered", "variables", "problem"),
    [
        (True, {"CSM_SMTP_USER": USER}, "CSM_SMTP_PASSWORD is not set"),
        (False, VARIABLES, "offers no login with user and password; remove `user_env`"),
    ],
)
def test_a_login_that_is_not_possible_says_what_to_do(warehouse, mail_server, offered, variables, problem):
    mail_server.login = offered
    report = alert(warehouse, route_to(mail_server, security="none", **LOGIN), **variables)
    assert problem in str(report)
    assert statuses(warehouse) == Counter(failed=2)


def test_a_password_in_a_name_is_hidden_in_the_message(warehouse, mail_server, monkeypatch):
    monkeypatch.setenv("CSM_SMTP_PASSWORD", PASSWORD)
    fill(warehouse, [("A1", day(1), 40.0)], {"A1": f"it is {PASSWORD}"})
    alert(warehouse, route_to(mail_server, security="none"))
    assert "it is (hidden) (A1)" in parsed(mail_server.accepted[0]).get_content()


def test_an_owner_without_an_address_needs_the_recipient_of_the_route(warehouse, mail_server):
    evil = "x@example.com\r\nRCPT TO:<all@example.com>\r\nBcc: all@example.com"
    warehouse.execute("update intermediate.int_account_days set csm_owner = ? where account_id = 'B1'", [evil])
    first = alert(warehouse, route_to(mail_server, security="none"))
    assert "the owner is not an e-mail address, and the route has no `recipient`" in str(first)
    assert [mail.recipient for mail in mail_server.accepted] == ["A@example.com"]
    alert(warehouse, route_to(mail_server, security="none", recipient="team@example.com"))
    last = mail_server.accepted[-1]
    assert (last.recipient, parsed(last)["To"], parsed(last)["Bcc"]) == ("team@example.com",) * 2 + (None,)


def test_a_message_that_a_killed_run_was_sending_is_marked_and_not_sent_again(warehouse, mail_server):
    alert(warehouse, route_to(mail_server, security="none"))
    warehouse.execute("update sync.alert_digests set status = 'sending'")
    report = alert(warehouse, route_to(mail_server, security="none"))
    assert (report.delivery.sent, report.delivery.possibly_sent, len(mail_server.accepted)) == (0, 2, 2)
