"""Delivers the digests of the ledger, each once: the intent is recorded before sending, the outcome after it.

A digest whose receiver may have accepted it before failing is marked ``possibly_sent`` and never sent again by itself.
A digest that was certainly not accepted is sent again by the next run, for a week.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from csm_core.errors import CSMError
from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.apprise_post import post_text
from csm_core.publishing.alerts.digest import FAILED, INTENDED, POSSIBLY_SENT, SENT, Digest
from csm_core.publishing.alerts.formats import (
    email_draft,
    email_message,
    json_payload,
    slack_payload,
    text_lines,
)
from csm_core.publishing.alerts.mail import MailServer, send_mail
from csm_core.publishing.alerts.webhook import Posted, post_json
from csm_core.redaction import without_secrets, without_secrets_inside
from csm_core.system.addresses import checked_address
from csm_core.system.file_access import give_group, make_folder
from csm_core.system.secrets import secret
from csm_core.warehouse.alert_settings import AlertRoute, AlertSettings

RETRY_DAYS = 7
ATTEMPTS = 3
# Writing the same file or row again leaves one digest.
_REPEATABLE = ("outbox", "email_draft")

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Delivery:
    """The outcomes of a delivery: digests and accounts by status, and the problems."""

    sent: int = 0
    accounts: int = 0
    possibly_sent: int = 0
    failed: int = 0
    problems: Sequence[str] = ()
    data_problems: int = 0


def recover(connection: duckdb.DuckDBPyConnection, settings: AlertSettings, clock: Clock) -> int:
    """Close the digests that a killed run was sending. Returns the number of those that the receiver may have."""
    routes = [*settings.account_routes, settings.data_route]
    repeatable = [route.label for route in routes if route.to in _REPEATABLE]
    return ledger.recover(connection, repeatable, naive(clock))


def deliver(
    connection: duckdb.DuckDBPyConnection,
    settings: AlertSettings,
    day: date,
    *,
    kinds: Sequence[str],
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    pause_seconds: float = 1.0,
) -> Delivery:
    """Send the digests of these kinds that are not sent yet, those of the last week included."""
    interrupted = recover(connection, settings, clock)
    since = day - timedelta(days=RETRY_DAYS)
    ledger.expire(connection, since, naive(clock))
    digests = ledger.load(connection, statuses=(INTENDED, FAILED), kinds=kinds, since=since)
    done = send_each(connection, settings, digests, clock=clock, environment=environment, pause_seconds=pause_seconds)
    if not interrupted:
        return done
    problem = f"{interrupted} digests may have been sent: {ledger.INTERRUPTED}"
    return replace(done, possibly_sent=done.possibly_sent + interrupted, problems=(problem, *done.problems))


def send_each(
    connection: duckdb.DuckDBPyConnection,
    settings: AlertSettings,
    digests: Sequence[Digest],
    *,
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    pause_seconds: float = 1.0,
) -> Delivery:
    """Send digests of the ledger, and record each outcome."""
    sent = accounts = possibly = failed = data_problems = 0
    problems: list[str] = []
    for digest in digests:
        sender = _Sender(connection, settings, digest, clock, environment, pause_seconds)
        status, error = sender.send()
        ledger.end(connection, digest.digest_id, status, error, naive(clock))
        if status == SENT:
            sent += 1
            accounts += len(digest.alerts)
            data_problems += bool(digest.failed_checks)
        elif status == POSSIBLY_SENT:
            possibly += 1
        else:
            failed += 1
        if error:
            problems.append(f"route {digest.route}, {digest.day}: {error}")
    return Delivery(sent, accounts, possibly, failed, tuple(dict.fromkeys(problems)), data_problems)


def naive(clock: Clock) -> datetime:
    """The time of the clock in UTC without a zone, as the warehouse has it."""
    return clock().astimezone(UTC).replace(tzinfo=None)


class _Sender:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: AlertSettings,
        digest: Digest,
        clock: Clock,
        environment: Mapping[str, str] | None,
        pause_seconds: float,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._digest = digest
        self._clock = clock
        self._environment = environment
        self._pause = pause_seconds

    def send(self) -> tuple[str, str | None]:
        """Send the digest; returns its status and why it is not sent."""
        route = self._settings.route(self._digest.route)
        if route is None:
            return FAILED, f"the configuration has no route {self._digest.route}; add it, or ignore this digest"
        try:
            if route.to == "outbox":
                return SENT, None
            if route.to == "email_draft":
                return self._write_draft(route)
            if route.to == "smtp":
                return self._mail(route)
            if route.to == "apprise":
                return self._notify(route)
            return self._post(route)
        except (CSMError, ValueError) as error:
            return FAILED, str(error)
        except OSError as error:
            return FAILED, f"the draft cannot be written: {error.strerror}. Check the folder of the route."

    def _write_draft(self, route: AlertRoute) -> tuple[str, str | None]:
        folder = route.folder or Path()
        file = folder / f"{self._digest.day}-{self._digest.digest_id[:16]}.eml"
        make_folder(folder)
        self._begin()
        new = file.with_name(f".{file.name}.new")
        new.write_bytes(email_draft(self._digest, self._settings.max_lines))
        give_group(new)
        new.replace(file)
        return SENT, None

    def _post(self, route: AlertRoute) -> tuple[str, str | None]:
        variable = route.webhook_env or ""
        url = secret(variable, "the address of the webhook", self._environment)
        try:
            url = checked_address(url, user_allowed=True)
        except ValueError as reason:
            return FAILED, f"{variable}: {reason}. Set it to the address of the webhook."
        payload = json_payload if route.to == "webhook" else slack_payload
        body = json.dumps(without_secrets_inside(payload(self._digest, self._settings.max_lines))).encode()
        headers = {"idempotency-key": self._digest.digest_id}
        if route.key_env:
            key = secret(route.key_env, "the key that signs the digests", self._environment)
            at = str(int(self._clock().timestamp()))
            signature = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
            headers |= {"x-csm-timestamp": at, "x-csm-signature": f"sha256={signature}"}
        return _status_of(self._repeated(url, body, headers), f"Check {variable}; the next run")

    def _mail(self, route: AlertRoute) -> tuple[str, str | None]:
        recipient = route.mail_recipient(self._digest.owner)
        if recipient is None:
            return FAILED, (
                "the owner is not an e-mail address, and the route has no `recipient`. Set it, or use an e-mail "
                "address as the owner of the accounts; the next run sends the digest."
            )
        server = MailServer(
            host=route.host or "",
            port=route.mail_port,
            security=route.security or "starttls",
            user=self._secret(route.user_env, "the user of the mail server"),
            password=self._secret(route.password_env, "the password of the mail server"),
        )
        posted = send_mail(
            server,
            route.sender or "",
            recipient,
            email_message(self._digest, self._settings.max_lines, route.sender or "", recipient),
            on_content=self._begin,
        )
        return _status_of(posted, "The next run")

    def _notify(self, route: AlertRoute) -> tuple[str, str | None]:
        variable = route.url_env or ""
        url = secret(variable, "the Apprise URL of the receiver", self._environment)
        # The first lines are the title and a blank line.
        title, _, *lines = (without_secrets(line) for line in text_lines(self._digest, self._settings.max_lines))
        posted = post_text(url, title, "\n".join(lines), on_sending=self._begin)
        return _status_of(posted, f"Check {variable}; the next run")

    def _secret(self, name: str | None, description: str) -> str:
        return secret(name, description, self._environment) if name else ""

    def _begin(self) -> None:
        ledger.begin(self._connection, self._digest.digest_id, naive(self._clock))

    def _repeated(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post until the receiver has answered; only after attempts that it certainly did not accept."""
        pause = self._pause
        for attempt in range(1, ATTEMPTS + 1):
            posted = post_json(url, body, headers=headers, on_connected=self._begin)
            if posted.outcome not in ("unreachable", "busy") or attempt == ATTEMPTS:
                return posted
            # Nothing was accepted, so an interruption while waiting leaves the digest to the next run.
            ledger.end(self._connection, self._digest.digest_id, INTENDED, posted.problem, naive(self._clock))
            time.sleep(pause)
            pause *= 2
        raise AssertionError(url)  # the loop returns


def _status_of(posted: Posted, again: str) -> tuple[str, str | None]:
    if posted.outcome == "accepted":
        return SENT, None
    if posted.outcome == "uncertain":
        return POSSIBLY_SENT, f"{posted.problem}; check whether the receiver has the digest"
    return FAILED, f"{posted.problem}. {again} sends the digest again."
