"""A mail server on a free port of this machine: it keeps what it accepts, and fails as it is told to."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

DROP, HANG = "drop", "hang"
USER, PASSWORD = "csm-login@mail.example", "very-secret-password"


@dataclass(frozen=True)
class Mail:
    """An accepted message with its envelope."""

    sender: str
    recipient: str
    content: bytes
    encrypted: bool


@dataclass
class _Session:
    encrypted: bool
    fault: dict[str, str]
    sender: str = ""
    recipient: str = ""
    login: str = ""


class MailReceiver:
    """Speaks enough SMTP for one message per connection.

    The next connections get the ``faults``, one each: for a step (``greeting``, ``EHLO``, ``STARTTLS``, ``AUTH``,
    ``MAIL``, ``RCPT``, ``DATA``, ``content``) a reply, or ``DROP`` or ``HANG``. ``read`` has all contents that were
    read, accepted or not.
    """

    def __init__(self, certificate: Path | None = None, *, tls_at_once: bool = False, login: bool = False) -> None:
        self.accepted: list[Mail] = []
        self.read: list[bytes] = []
        self.steps: list[str] = []
        self.faults: list[dict[str, str]] = []
        self.login = login
        self.tls: ssl.SSLContext | None = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
        self._stopped = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Connection(outer, self.request, tls_at_once=tls_at_once).serve()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Answer nothing until the test has ended."""
        self._stopped.wait(30)


class _GoneError(Exception):
    """The connection ends here."""


@dataclass
class _Connection:
    server: MailReceiver
    socket: ssl.SSLSocket
    tls_at_once: bool
    session: _Session = field(init=False)

    def serve(self) -> None:
        fault = self.server.faults.pop(0) if self.server.faults else {}
        self.session = _Session(encrypted=self.tls_at_once, fault=fault)
        try:
            if self.tls_at_once:
                self._encrypt()
            self._answer("greeting", "220 mail.example ESMTP")
            for line in iter(self._line, b""):
                self._command(line.decode().strip())
        except (_GoneError, OSError):
            pass
        self.socket.close()

    def _encrypt(self) -> None:
        assert self.server.tls
        self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)

    def _line(self) -> bytes:
        """One line, read byte by byte: nothing that follows is read before a change to TLS."""
        line = b""
        while not line.endswith(b"\n"):
            byte = self.socket.recv(1)
            if not byte:
                return b""
            line += byte
        return line

    def _answer(self, step: str, reply: str) -> bool:
        """Send the reply or the fault of a step; returns whether it is a success."""
        self.server.steps.append(step)
        reply = self.session.fault.get(step, reply)
        if reply == HANG:
            self.server.wait()
        if reply in (DROP, HANG):
            raise _GoneError
        self.socket.sendall(reply.encode() + b"\r\n")
        return reply[0] in "23"

    def _command(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        session = self.session
        if verb.upper() == "EHLO":
            offers = ["mail.example"]
            offers += ["STARTTLS"] if self.server.tls and not session.encrypted else []
            offers += ["AUTH PLAIN"] if self.server.login and (session.encrypted or not self.server.tls) else []
            lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
            self._answer("EHLO", "\r\n".join(lines))
        elif verb.upper() == "STARTTLS":
            if self._answer("STARTTLS", "220 ready"):
                self._encrypt()
                session.encrypted = True
        elif verb.upper() == "AUTH":
            session.login = base64.b64decode(rest.partition(" ")[2]).decode()
            valid = session.login == f"\0{USER}\0{PASSWORD}"
            # Real servers quote the user in such a reply.
            self._answer("AUTH", "235 welcome" if valid else f"535 5.7.8 {session.login!r} rejected for {USER}")
        elif verb.upper() == "MAIL":
            session.sender = rest[rest.index("<") + 1 : rest.index(">")]
            self._answer("MAIL", "530 5.7.0 login first" if self.server.login and not session.login else "250 ok")
        elif verb.upper() == "RCPT":
            session.recipient = rest[rest.index("<") + 1 : rest.index(">")]
            self._answer("RCPT", "250 ok")
        elif verb.upper() == "DATA":
            if self._answer("DATA", "354 go on"):
                self._content()
        elif verb.upper() == "QUIT":
            self._answer("QUIT", "221 bye")
            raise _GoneError
        else:
            self._answer(verb, "502 unknown command")

    def _content(self) -> None:
        lines: list[bytes] = []
        for line in iter(self._line, b".\r\n"):
            if not line:
                raise _GoneError
            lines.append(line.removeprefix(b"."))
        content = b"".join(lines)
        self.server.read.append(content)
        if self._answer("content", "250 2.0.0 queued"):
            mail = Mail(self.session.sender, self.session.recipient, content, self.session.encrypted)
            self.server.accepted.append(mail)
