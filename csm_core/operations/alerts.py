"""Posts alerts about failed runs to a webhook that accepts Slack's JSON.

The address is a secret, because anyone who has it can post: it is read from the environment when an alert is posted,
and no message, log or error contains it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from csm_core.errors import CSMError, InputError
from csm_core.publishing.alerts.formats import cut, escaped
from csm_core.publishing.alerts.webhook import post_json
from csm_core.redaction import without_secrets_inside
from csm_core.system.addresses import checked_address
from csm_core.system.secrets import secret

WEBHOOK_VARIABLE = "CSM_ALERT_WEBHOOK"
ATTEMPTS = 3


def webhook(environment: Mapping[str, str] | None = None) -> str:
    """The webhook's address; empty if it is not set. Raises ConfigError for an invalid value."""
    return secret(WEBHOOK_VARIABLE, "the address that Slack shows for the webhook", environment, required=False)


class AlertError(CSMError):
    """An alert could not be posted. The message does not contain the address."""


class _TransientError(Exception):
    """An error that a retry may resolve. The message does not contain the address."""


def slack_message(title: str, facts: Mapping[str, str], problems: Sequence[str]) -> dict[str, object]:
    """The alert in Slack's format: ``text`` for notifications, and blocks with the facts and the problems."""
    stated = "\n".join(f"*{escaped(name)}:* {escaped(value)}" for name, value in facts.items())
    listed = "\n".join(f"• {escaped(problem)}" for problem in problems)
    sections = [f"*{escaped(title)}*", *(cut(text) for text in (stated, listed) if text)]
    return {
        "text": cut("\n".join([escaped(title), stated, listed]).strip()),
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

    def send() -> None:
        posted = post_json(url, body)
        if posted.outcome == "rejected":
            error = f"{posted.problem.replace('returned', 'rejected the alert with')}. Check {WEBHOOK_VARIABLE}."
            raise AlertError(error)
        if posted.outcome != "accepted":
            # An alert about a failed run may arrive twice: that is better than not at all.
            raise _TransientError(posted.problem)

    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=pause_seconds, max=30),
            reraise=True,
        ):
            with attempt:
                send()
    except _TransientError as problem:
        error = f"the alert could not be posted in {ATTEMPTS} attempts: {problem}. Check {WEBHOOK_VARIABLE}."
        raise AlertError(error) from None
