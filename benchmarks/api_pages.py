"""A separate process that serves pre-rendered pages of a web API: tickets in the format of Zendesk's export."""

import json
import multiprocessing
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 1_000
TICKETS = "/api/v2/incremental/tickets/cursor.json"
# The placeholder for the page number in a rendered page.
_PAGE_NUMBER = b'"1000000000'


def ticket(number: int) -> dict[str, Any]:
    """A ticket with the keys and the size of Zendesk's tickets; its id is text, so that pages can be numbered."""
    person = 377_922_500_000 + number
    address = {"address": f"user{number}@customer.example", "name": f"User {number}"}
    return {
        "url": f"https://acme.zendesk.example/api/v2/tickets/{number}.json",
        "id": f"1000000000{number:04}",
        "external_id": None,
        "via": {
            "channel": "email",
            "source": {"from": address, "to": {"name": "Support", "address": "s@acme.example"}},
        },
        "created_at": "2026-06-03T02:23:47Z",
        "updated_at": "2026-06-05T01:13:24Z",
        "type": "problem" if number % 3 else None,
        "subject": f"Report {number} does not open",
        "raw_subject": f"Report {number} does not open",
        "description": "The report stays empty after the filter was changed, since the update of last week.\n\n" * 2,
        "priority": ("low", "normal", "high", "urgent", None)[number % 5],
        "status": ("open", "pending", "solved", "closed")[number % 4],
        "recipient": "support@acme.example",
        "requester_id": person,
        "submitter_id": person,
        "assignee_id": 377_922_500_012,
        "organization_id": 360_363_695_000 + number % 300,
        "group_id": 360_004_077_472,
        "collaborator_ids": [person, person + 1],
        "follower_ids": [person],
        "email_cc_ids": [],
        "forum_topic_id": None,
        "problem_id": None,
        "has_incidents": False,
        "is_public": True,
        "due_at": None,
        "tags": ["reports", "web", "escalated"][: number % 4],
        "custom_fields": [{"id": 360_000_000_000 + n, "value": f"value {n}"} for n in range(4)],
        "satisfaction_rating": {"score": "good" if number % 7 else "unoffered"},
        "sharing_agreement_ids": [],
        "followup_ids": [],
        "ticket_form_id": 360_000_389_592,
        "brand_id": 360_002_256_672,
        "allow_channelback": False,
        "allow_attachments": True,
    }


@contextmanager
def serving(records: int) -> Generator[str]:
    """Serve an API with the given number of tickets; yields its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(records, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(records: int, port_sender: Connection) -> None:
    pages = -(-records // PAGE)
    rendered = json.dumps([ticket(number) for number in range(PAGE)]).encode()
    last = json.dumps([ticket(number) for number in range(records - (pages - 1) * PAGE)]).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == TICKETS:
                number = int(parse_qs(parts.query).get("cursor", ["0"])[0])
                paging = json.dumps({"after_cursor": str(number + 1), "end_of_stream": number + 1 >= pages})
                page = last if number + 1 >= pages else rendered
                page = page.replace(_PAGE_NUMBER, b'"%010d' % (1_000_000_000 + number))
                body = b'{"tickets":%b,%b' % (page, paging[1:].encode())
            else:
                body = b'{"end_of_stream":true,"end_time":null}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port_sender.send(server.server_port)
    server.serve_forever()
