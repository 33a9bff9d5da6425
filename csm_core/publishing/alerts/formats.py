"""The formats of a digest: plain text, Slack's blocks, JSON, an e-mail and a draft of one.

Names and texts come from records, so each format shows them as text: nothing in them becomes a link, a mention, a
heading or a header.
"""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from csm_core.publishing.alerts.digest import DATA_PROBLEM, Digest, Line
from csm_core.redaction import without_secrets
from csm_core.system.addresses import is_mail_address
from csm_core.system.terminal import printable

# Slack rejects a section of more than 3,000 characters, and a title of more than 150.
SECTION_CHARACTERS = 2900
_TITLE_CHARACTERS = 150


def escaped(text: str) -> str:
    """Text for Slack's mrkdwn without mentions and links."""
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return text


def cut(text: str, most: int = SECTION_CHARACTERS) -> str:
    """Text of at most this number of characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def text_lines(digest: Digest, max_lines: int) -> list[str]:
    """The digest as lines of plain text."""
    lines = [digest.title, ""]
    if digest.kind == DATA_PROBLEM:
        return [*lines, *digest.problem]
    shown, remainder = digest.shown(max_lines)
    for place, line in enumerate(shown, 1):
        lines.append(f"{place}. {line.name} [{line.what}]")
        lines += [f"   {text}" for text in line.texts]
        if line.link:
            lines.append(f"   {printable(line.link, 500)}")
    return [*lines, *(text for text in (remainder, digest.resolved_text) if text)]


def slack_payload(digest: Digest, max_lines: int) -> dict[str, Any]:
    """The digest as Slack's blocks. Texts are plain text, which Slack does not interpret."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(cut(digest.title, _TITLE_CHARACTERS))},
    ]
    if digest.kind == DATA_PROBLEM:
        blocks += [_section(text) for text in digest.problem]
    else:
        shown, remainder = digest.shown(max_lines)
        blocks += [_account_section(line) for line in shown]
        blocks += [_section(text) for text in (remainder, digest.resolved_text) if text]
    return {"text": escaped(cut(digest.title)), "blocks": blocks}


def json_payload(digest: Digest, max_lines: int) -> dict[str, Any]:
    """The digest as JSON. Texts are as in the records; the receiver escapes them."""
    shown, _ = digest.shown(max_lines)
    return {
        "id": digest.digest_id,
        "kind": digest.kind,
        "route": digest.route,
        "owner": digest.owner or None,
        "day": digest.day.isoformat(),
        "title": digest.title,
        "accounts": [_account(line) for line in shown],
        "more_accounts": len(digest.alerts) - len(shown),
        "resolved": [
            {"account_id": line.account_id, "account_name": line.account_name, "rules": list(line.rules)}
            for line in digest.resolved
        ],
        "failed_checks": list(digest.failed_checks),
        "problem": digest.problem if digest.kind == DATA_PROBLEM else [],
    }


def email_draft(digest: Digest, max_lines: int) -> bytes:
    """The digest as a draft of an e-mail to the owner, if the owner is an e-mail address."""
    message = _email(digest, max_lines, digest.owner if is_mail_address(digest.owner) else "")
    message["X-Unsent"] = "1"
    return message.as_bytes()


def email_message(digest: Digest, max_lines: int, sender: str, recipient: str) -> bytes:
    """The digest as an e-mail between two checked addresses: the message of the draft, ready to be sent."""
    message = _email(digest, max_lines, recipient)
    message["From"] = _address(sender)
    # Without it, mailboxes answer that their owner is on holiday.
    message["Auto-Submitted"] = "auto-generated"
    return message.as_bytes()


def _email(digest: Digest, max_lines: int, recipient: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    # The library rejects line breaks in headers; ``printable`` has removed them before.
    message["Subject"] = printable(without_secrets(digest.title), 200)
    if recipient:
        message["To"] = _address(recipient)
    message["Date"] = digest.intended_at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    message["Message-ID"] = f"<{digest.digest_id}@csm-health.invalid>"
    text = without_secrets("\n".join(text_lines(digest, max_lines)) + "\n")
    message.set_content(text, charset="utf-8", cte="base64")
    return message


def _address(text: str) -> Address:
    user, _, domain = text.rpartition("@")
    return Address(username=user, domain=domain)


def _account(line: Line) -> dict[str, Any]:
    return {
        "account_id": line.account_id,
        "account_name": line.account_name,
        "kind": line.kind,
        "rules": list(line.rules),
        "severity": line.severity,
        "score": line.score,
        "rag": line.rag,
        "change": line.change,
        "reason": line.reason,
        "next_step": line.next_step,
        "link": line.link or None,
    }


def _account_section(line: Line) -> dict[str, Any]:
    section = _section("\n".join([f"{line.name}  [{line.what}]", *line.texts]))
    if line.link and len(line.link) <= SECTION_CHARACTERS:
        section["accessory"] = {"type": "button", "text": _plain("Open"), "url": line.link}
    return section


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(cut(text))}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
