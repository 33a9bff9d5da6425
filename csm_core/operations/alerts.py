"""Alerts to a webhook that takes Slack's JSON: what failed, why, and what to do; the address itself is a secret.

Whoever knows the address can post under it, so it is read from the environment where it is needed and is in no message,
log or error.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from csm_core.errors import CSMError, InputError
from csm_core.redaction import without_secrets_inside
from csm_core.system.addresses import checked_address
from csm_core.system.secrets import secret

WEBHOOK_VARIABLE = "CSM_ALERT_WEBHOOK"
TIMEOUT_SECONDS = 10.0
ATTEMPTS = 3
# Slack refuses a section of more than 3,000 characters and cuts a text after 40,000.
SECTION_CHARACTERS = 2900


def webhook(environment: Mapping[str, str] | None = None) -> str:
    """The webhook's address; empty if none is set. Raises ConfigError for a value that cannot be one."""
    return secret(WEBHOOK_VARIABLE, "the address that Slack shows for the webhook", environment, required=False)


class AlertError(CSMError):
    """An alert that could not be posted; never holds the address."""


class _PassingError(Exception):
    """Worth another attempt; says why without the address."""


def slack_message(title: str, facts: Mapping[str, str], problems: Sequence[str]) -> dict[str, object]:
    """What failed as Slack's JSON: ``text`` for notifications, and blocks with the facts and the problems."""
    stated = "\n".join(f"*{_escaped(name)}:* {_escaped(value)}" for name, value in facts.items())
    listed = "\n".join(f"• {_escaped(problem)}" for problem in problems)
    sections = [f"*{_escaped(title)}*", *(_cut(text) for text in (stated, listed) if text)]
    return {
        "text": _cut("\n".join([_escaped(title), stated, listed]).strip()),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in sections],
    }


def run_address(dagster_url: str, run_id: str) -> str:
    """Where Dagster's UI, at ``dagster_url``, shows a run."""
    return f"{dagster_url.rstrip('/')}/runs/{run_id}"


def post(message: Mapping[str, object], url: str, *, pause_seconds: float = 1.0) -> None:
    """Post a message, waiting ``pause_seconds`` (then twice that) where the other side is busy or not there.

    Raises InputError for an address that is none, AlertError when the message was refused or did not get through.
    """
    try:
        url = checked_address(url, user_allowed=True)
    except ValueError as reason:
        error = f"{WEBHOOK_VARIABLE}: {reason}. Set it to the address that Slack shows for the webhook."
        raise InputError(error) from None
    body = json.dumps(without_secrets_inside(message)).encode()
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=pause_seconds, max=30),
            reraise=True,
        ):
            with attempt:
                _send(url, body)
    except _PassingError as problem:
        error = f"the alert did not get through in {ATTEMPTS} attempts: {problem}. Check {WEBHOOK_VARIABLE}."
        raise AlertError(error) from None


def _send(url: str, body: bytes) -> None:
    # Not with httpx: it logs the address of every request.
    request = urllib.request.Request(  # noqa: S310  # the scheme has been looked at
        url, data=body, headers={"content-type": "application/json; charset=utf-8"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as refusal:
        if refusal.code == 429 or refusal.code >= 500:
            problem = f"the webhook answered {refusal.code}"
            raise _PassingError(problem) from None
        error = f"the webhook refused the alert with {refusal.code}. Check {WEBHOOK_VARIABLE}."
        raise AlertError(error) from None
    except (OSError, http.client.HTTPException) as failure:
        problem = f"no connection ({type(failure).__name__})"
        raise _PassingError(problem) from None


def _escaped(text: str) -> str:
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return text


def _cut(text: str) -> str:
    return text if len(text) <= SECTION_CHARACTERS else text[: SECTION_CHARACTERS - 1] + "…"
