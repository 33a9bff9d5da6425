"""Posts alerts about failed runs to a webhook that accepts Slack's JSON.

The address is a secret, because anyone who has it can post: it is read from the environment when an alert is posted,
and no message, log or error contains it.
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
# Slack rejects a section of more than 3,000 characters and truncates a text after 40,000.
SECTION_CHARACTERS = 2900


def webhook(environment: Mapping[str, str] | None = None) -> str:
    """The webhook's address; empty if it is not set. Raises ConfigError for an invalid value."""
    return secret(WEBHOOK_VARIABLE, "the address that Slack shows for the webhook", environment, required=False)


class AlertError(CSMError):
    """An alert could not be posted. The message does not contain the address."""


class _TransientError(Exception):
    """An error that a retry may resolve. The message does not contain the address."""


def slack_message(title: str, facts: Mapping[str, str], problems: Sequence[str]) -> dict[str, object]:
    """The alert in Slack's format: ``text`` for notifications, and blocks with the facts and the problems."""
    stated = "\n".join(f"*{_escaped(name)}:* {_escaped(value)}" for name, value in facts.items())
    listed = "\n".join(f"• {_escaped(problem)}" for problem in problems)
    sections = [f"*{_escaped(title)}*", *(_cut(text) for text in (stated, listed) if text)]
    return {
        "text": _cut("\n".join([_escaped(title), stated, listed]).strip()),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in sections],
    }


def run_address(dagster_url: str, run_id: str) -> str:
    """The address of a run in the Dagster UI at ``dagster_url``."""
    return f"{dagster_url.rstrip('/')}/runs/{run_id}"


def post(message: Mapping[str, object], url: str, *, pause_seconds: float = 1.0) -> None:
    """Post a message. After a transient error it waits ``pause_seconds``, then twice as long, and retries.

    Raises InputError for an invalid address, AlertError if the webhook rejects the message or cannot be reached.
    """
    try:
        url = checked_address(url, user_allowed=True)
    except ValueError as reason:
        error = f"{WEBHOOK_VARIABLE}: {reason}. Set it to the address that Slack shows for the webhook."
        raise InputError(error) from None
    body = json.dumps(without_secrets_inside(message)).encode()
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=pause_seconds, max=30),
            reraise=True,
        ):
            with attempt:
                _send(url, body)
    except _TransientError as problem:
        error = f"the alert could not be posted in {ATTEMPTS} attempts: {problem}. Check {WEBHOOK_VARIABLE}."
        raise AlertError(error) from None


def _send(url: str, body: bytes) -> None:
    # httpx is not used here, because it logs the address of every request.
    request = urllib.request.Request(  # noqa: S310  # the scheme was checked
        url, data=body, headers={"content-type": "application/json; charset=utf-8"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read()
    except urllib.error.HTTPError as rejection:
        if rejection.code == 429 or rejection.code >= 500:
            problem = f"the webhook returned status {rejection.code}"
            raise _TransientError(problem) from None
        error = f"the webhook rejected the alert with status {rejection.code}. Check {WEBHOOK_VARIABLE}."
        raise AlertError(error) from None
    except (OSError, http.client.HTTPException) as failure:
        problem = f"no connection ({type(failure).__name__})"
        raise _TransientError(problem) from None


def _escaped(text: str) -> str:
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return text


def _cut(text: str) -> str:
    return text if len(text) <= SECTION_CHARACTERS else text[: SECTION_CHARACTERS - 1] + "…"
