"""Sends an e-mail with SMTP, and says whether the mail server has accepted it, has not, or may have.

No result contains the login, or a text of the server: a reply may quote the user or the message.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable, Container
from contextlib import closing, suppress
from dataclasses import dataclass, field

from csm_core.publishing.alerts.webhook import TIMEOUT_SECONDS, Posted
from csm_core.warehouse.alert_settings import Security

_QUIT_SECONDS = 1.0
# 251: the server forwards the message to another address.
_ACCEPTED, _CONTINUE = (250, 251), 354
_STATUS = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?=\s|\Z)")


@dataclass(frozen=True)
class MailServer:
    """The address of a mail server, how its connections are encrypted, and the login, if it requires one."""

    host: str
    port: int
    security: Security = "starttls"
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class _RejectedError(Exception):
    """The server did not accept a step before the content of the message."""


def send_mail(
    server: MailServer,
    sender: str,
    recipient: str,
    message: bytes,
    *,
    on_content: Callable[[], None] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Posted:
    """Send a message with lines that end with CRLF once, to one recipient.

    ``on_content`` is called when the server is ready for the content: before it, the server has read nothing of the
    message. Errors until all of the content is sent are certain: a server accepts a message at its end.
    """
    # A line that is a full stop ends the content.
    content = re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"
    try:
        with closing(_connected(server, timeout)) as connection:
            if server.user:
                _log_in(connection, server)
            _require("the sender", connection.mail(sender), _ACCEPTED, "check `from`")
            _require("the recipient", connection.rcpt(recipient), _ACCEPTED, "check the owner or `recipient`")
            _require("the message", connection.docmd("DATA"), (_CONTINUE,))
            if on_content:
                on_content()
            connection.send(content)
            return _outcome_of(connection)
    except _RejectedError as rejection:
        return Posted("rejected", str(rejection))
    except ssl.SSLError as failure:
        return Posted(
            "unreachable",
            f"the encrypted connection to the mail server failed ({type(failure).__name__}); check `host`, `port`, "
            "`security` and the certificate of the server",
        )
    except smtplib.SMTPResponseException as rejection:
        return Posted("rejected", _problem("the connection", (rejection.smtp_code, rejection.smtp_error)))
    # The exceptions of smtplib are errors of the operating system, too.
    except OSError as failure:
        return Posted(
            "unreachable",
            f"the connection to the mail server failed ({_cause(failure)}); check `host`, `port` and `security`",
        )


def _connected(server: MailServer, timeout: float) -> smtplib.SMTP:
    host = server.host.strip("[]")
    context = ssl.create_default_context()
    if server.security == "tls":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(host, server.port, timeout=timeout, context=context)
    else:
        connection = smtplib.SMTP(host, server.port, timeout=timeout)
    try:
        if server.security == "starttls":
            connection.starttls(context=context)
        connection.ehlo_or_helo_if_needed()
    except smtplib.SMTPNotSupportedError:
        connection.close()
        message = "the mail server does not offer STARTTLS; if its port expects TLS at once, set `security: tls`"
        raise _RejectedError(message) from None
    except OSError:
        connection.close()
        raise
    return connection


def _log_in(connection: smtplib.SMTP, server: MailServer) -> None:
    try:
        connection.login(server.user, server.password)
    except smtplib.SMTPResponseException as rejection:
        reply = (rejection.smtp_code, rejection.smtp_error)
        message = _problem("the login", reply, "check the variables of `user_env` and `password_env`")
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException:
        message = "the mail server offers no login with user and password; remove `user_env` and `password_env`"
    else:
        return
    raise _RejectedError(message)


def _outcome_of(connection: smtplib.SMTP) -> Posted:
    """Read the answer to the content, and end the connection."""
    try:
        code, reply = connection.getreply()
    except OSError as failure:
        return Posted("uncertain", f"the connection failed after the message was sent ({_cause(failure)})")
    with suppress(OSError):
        if connection.sock:
            connection.sock.settimeout(_QUIT_SECONDS)
        connection.quit()
    if 200 <= code < 300:
        return Posted("accepted")
    if 400 <= code < 600:
        return Posted("rejected", _problem("the message", (code, reply)))
    return Posted("uncertain", "the mail server answered with something else than a status")


def _require(what: str, reply: tuple[int, bytes], wanted: Container[int], advice: str = "") -> None:
    if reply[0] not in wanted:
        raise _RejectedError(_problem(what, reply, advice))


def _problem(what: str, reply: tuple[int, bytes | str], advice: str = "") -> str:
    """The rejection with the numbers of the reply, never with its text."""
    code, text = reply
    status = _STATUS.match(text if isinstance(text, bytes) else text.encode())
    numbers = f"{code} {status[0].decode()}" if status else str(code)
    return f"the mail server rejected {what} ({numbers})" + (f"; {advice}" if advice else "")


def _cause(failure: OSError) -> str:
    """The kind of a failure. smtplib raises its own error while it handles the one of the connection."""
    inner = failure.__context__ if isinstance(failure, smtplib.SMTPServerDisconnected) else None
    return type(inner or failure).__name__
