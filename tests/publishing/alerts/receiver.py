"""A webhook that keeps the digests that it has accepted."""

from __future__ import annotations

import json
from typing import Any

from tests.web_server import Answer, Asked, WebServer

PATH = "/services/T00/B00/very-secret"


class Receiver(WebServer):
    """Accepts every post; ``accepted`` has the ids, ``bodies`` what was posted."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"{self.url}{PATH}"

    @property
    def received(self) -> list[str]:
        """The id of every request that was read, answered or not."""
        return [{key.lower(): value for key, value in one.headers.items()}["idempotency-key"] for one in self.asked]

    def respond(self, asked: Asked) -> Answer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        self.accepted.append(headers["idempotency-key"])
        self.bodies.append(json.loads(asked.body))
        return Answer(b"ok")
