"""HubSpot and Salesforce on this machine, as far as upserts go: they keep and check records, and fail as told to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from tests.web_server import Answer, Asked, Failure, WebServer, drop, refuse, send

TOKEN = "pat-na1-very-secret-token"
CLIENT_SECRET = "very-secret-consumer-secret"
# Fields that nobody maps.
OTHERS = {"name": "written by a person", "phone": "+49 30 1234"}
LIMIT = 65_536


class CrmServer(WebServer):
    """Records by key, with the fields that each has. ``writes`` counts the requests that may change records."""

    vendor = ""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        # The type of each field: number, text, date or bool.
        self.fields = dict(fields)
        self.records: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.writes = 0
        self.left_out: set[str] = set()

    def add(self, *keys: str) -> None:
        """Records that were there before."""
        for key in keys:
            self.put(key, dict(OTHERS))

    def put(self, key: str, values: Mapping[str, Any]) -> bool:
        """Write the values; whether the record is new."""
        new = key not in self.records
        self.ids.setdefault(key, f"{len(self.ids) + 1001}")
        self.records.setdefault(key, {}).update(values)
        return new

    def problem(self, key: str, values: Mapping[str, Any]) -> str | None:
        """Why the values are rejected."""
        if key in self.refused:
            return self.refused[key]
        for field, value in values.items():
            kind = self.fields[field]
            if value in (None, ""):
                continue
            if kind == "number":
                try:
                    float(value)
                except (TypeError, ValueError):
                    return f"{value!r} was not a valid number for {field}"
            if len(str(value)) > LIMIT:
                return f"{field} is too long"
        return None

    def values(self, field: str) -> dict[str, Any]:
        """The values of a field, by key."""
        return {key: record.get(field) for key, record in sorted(self.records.items())}


class HubSpotServer(CrmServer):
    """``multi_status``: a rejected record is named in a response with status 207, else its whole batch is rejected."""

    vendor = "hubspot"

    def __init__(self, fields: Mapping[str, str], key: str = "csm_account_id", *, multi_status: bool = True) -> None:
        super().__init__(fields)
        self.key = key
        self.multi_status = multi_status

    def respond(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Answer({"status": "error", "message": "Authentication credentials not found."}, 401)
        if asked.path.startswith("/crm/properties/2026-03/"):
            named = [{"name": one, "type": kind, "hasUniqueValue": False} for one, kind in self.fields.items()]
            return Answer({"results": [*named, {"name": self.key, "type": "string", "hasUniqueValue": True}]})
        inputs = json.loads(asked.body)["inputs"]
        assert len(inputs) <= 100
        assert all(json.loads(asked.body).get("idProperty", one.get("idProperty")) == self.key for one in inputs)
        if asked.path.endswith("/batch/read"):
            return self._read(inputs)
        assert asked.path == "/crm/objects/2026-03/companies/batch/upsert"
        self.writes += 1
        return self._upsert(inputs)

    def _read(self, inputs: list[dict[str, Any]]) -> Answer:
        found = [one["id"] for one in inputs if one["id"] in self.records]
        results = [{"id": self.ids[key], "properties": {self.key: key}} for key in found]
        if len(found) == len(inputs):
            return Answer({"status": "COMPLETE", "results": results})
        missing = [one["id"] for one in inputs if one["id"] not in self.records]
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "not found", "context": {"ids": missing}}
        return Answer({"status": "COMPLETE", "results": results, "numErrors": 1, "errors": [error]}, 207)

    def _upsert(self, inputs: list[dict[str, Any]]) -> Answer:
        unknown = sorted({field for one in inputs for field in one["properties"]} - self.fields.keys())
        if unknown:
            said = f'Property "{unknown[0]}" does not exist'
            return Answer({"status": "error", "category": "VALIDATION_ERROR", "message": said}, 400)
        assert all(isinstance(value, str) for one in inputs for value in one["properties"].values())
        problems = {one["id"]: said for one in inputs if (said := self.problem(one["id"], one["properties"]))}
        if problems and not self.multi_status:
            said = next(iter(problems.values()))
            return Answer({"status": "error", "category": "VALIDATION_ERROR", "message": said}, 400)
        results, errors = [], []
        for one in inputs:
            if one["id"] in problems:
                context = {"objectWriteTraceId": [one["objectWriteTraceId"]]}
                errors.append({"status": "error", "message": problems[one["id"]], "context": context})
                continue
            new = self.put(one["id"], one["properties"])
            if one["id"] not in self.left_out:
                results.append(
                    {
                        "id": self.ids[one["id"]],
                        "new": new,
                        "objectWriteTraceId": one["objectWriteTraceId"],
                        "properties": {self.key: one["id"], **one["properties"]},
                    }
                )
        self.left_out.clear()
        body = {"status": "COMPLETE", "results": results}
        return Answer(body | ({"numErrors": len(errors), "errors": errors} if errors else {}), 207 if errors else 200)


class SalesforceServer(CrmServer):
    """Sessions expire when ``session`` changes. ``locked`` has how often each record is still locked."""

    vendor = "salesforce"

    def __init__(self, fields: Mapping[str, str], key: str = "CSM_Account_Id__c") -> None:
        super().__init__(fields)
        self.key = key
        self.session = 1
        self.locked: dict[str, int] = {}

    @property
    def access_token(self) -> str:
        return f"00D-very-secret-session-{self.session}"

    def respond(self, asked: Asked) -> Answer:
        if asked.path == "/services/oauth2/token":
            sent = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
            if sent != {
                "grant_type": "client_credentials",
                "client_id": "the-consumer-key",
                "client_secret": CLIENT_SECRET,
            }:
                return Answer({"error": "invalid_client", "error_description": "invalid client credentials"}, 400)
            return Answer({"access_token": self.access_token, "instance_url": "https://elsewhere.example"})
        if asked.headers.get("Authorization") != f"Bearer {self.access_token}":
            return Answer([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}], 401)
        if asked.path.endswith("/describe"):
            named = [{"name": one, "externalId": False, "updateable": True} for one in self.fields]
            return Answer({"fields": [*named, {"name": self.key, "externalId": True, "updateable": True}]})
        if asked.path.endswith("/query"):
            return self._query(asked.query["q"])
        assert (asked.method, asked.path) == (
            "PATCH",
            f"/services/data/v66.0/composite/sobjects/Account/{self.key}",
        )
        self.writes += 1
        body = json.loads(asked.body)
        assert body["allOrNone"] is False
        assert len(body["records"]) <= 200
        return self._upsert(body["records"])

    def _query(self, query: str) -> Answer:
        prefix = f"SELECT {self.key} FROM Account WHERE {self.key} IN ("
        assert query.startswith(prefix), query
        keys = literals(query.removeprefix(prefix))
        return Answer({"done": True, "records": [{self.key: key} for key in keys if key in self.records]})

    def _upsert(self, records: list[dict[str, Any]]) -> Answer:
        unknown = sorted({field for one in records for field in one} - {*self.fields, self.key, "attributes"})
        if unknown:
            said = f"No such column '{unknown[0]}' on sobject of type Account"
            return Answer([{"errorCode": "INVALID_FIELD", "message": said}], 400)
        results = []
        for one in records:
            assert one["attributes"] == {"type": "Account"}
            key = one[self.key]
            values = {field: value for field, value in one.items() if field in self.fields}
            said = self.problem(key, values)
            if self.locked.get(key, 0) > 0:
                self.locked[key] -= 1
                errors = [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access"}]
                results.append({"success": False, "errors": errors})
            elif said:
                errors = [{"statusCode": "FIELD_INTEGRITY_EXCEPTION", "message": said, "fields": []}]
                results.append({"success": False, "errors": errors})
            else:
                new = self.put(key, values)
                results.append({"id": f"001{self.ids[key]}", "success": True, "created": new, "errors": []})
        if self.left_out:
            self.left_out.clear()
            results.pop()
        return Answer(results)


def literals(text: str) -> list[str]:
    """The literals of a SOQL list, which ends with a bracket, as Salesforce reads them."""
    found: list[str] = []
    place = 0
    while text[place] == "'":
        value, place = "", place + 1
        while text[place] != "'":
            if text[place] == "\\":
                place += 1
                value += {"n": "\n", "r": "\r", "t": "\t"}.get(text[place], text[place])
            else:
                value += text[place]
            place += 1
        found.append(value)
        place += 1
        if text[place:] == ")":
            return found
        assert text[place : place + 2] == ", "
        place += 2
    raise AssertionError(text)


def lost(server: CrmServer) -> Failure:
    """Carries out the request, and hangs up."""

    def fail(request: Any) -> None:
        server.respond(server.asked[-1])
        drop(request)

    return fail


def truncated(server: CrmServer) -> Failure:
    """Carries out the request, and sends the response without its end."""
    return lambda request: send(request, _with_length(server.respond(server.asked[-1])))


def spared(server: CrmServer, fault: Failure) -> Failure:
    """The fault, except that sessions are opened: it happens to the next request."""

    def fail(request: Any) -> None:
        asked = server.asked[-1]
        if asked.path.endswith("/token"):
            server.failures.insert(0, fail)
            send(request, server.respond(asked))
        else:
            fault(request)

    return fail


def slow(seconds: float) -> Failure:
    """Responds too late."""

    def fail(request: Any) -> None:
        time.sleep(seconds)
        drop(request)

    return fail


def drip(seconds: float) -> Failure:
    """Sends a response that does not end, a byte at a time."""

    def fail(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        end = time.monotonic() + seconds
        with suppress(OSError):
            while time.monotonic() < end:
                request.wfile.write(b" ")
                time.sleep(0.05)
        request.close_connection = True

    return fail


def _with_length(answer: Answer) -> Answer:
    return Answer(json.dumps(answer.body).encode()[:-7], answer.status)


FAULTS: dict[str, Callable[[CrmServer], Failure]] = {
    "429 with Retry-After": lambda _: refuse(429, {"policyName": "TEN_SECONDLY_ROLLING"}, Retry_After="7"),
    "429 without Retry-After": lambda _: refuse(429),
    "500": lambda _: refuse(500, {"message": "Internal error"}),
    "502 with HTML": lambda _: refuse(502, b"<html><body>Bad Gateway</body></html>"),
    "503": lambda _: refuse(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "timeout": lambda _: slow(0.6),
    "connection reset before reading": lambda _: drop,
    "response lost after commit": lost,
    "truncated JSON after commit": truncated,
    "endless response": lambda _: drip(2.0),
    "200 without JSON": lambda _: refuse(200, b"<html>maintenance</html>"),
    "redirect to another host": lambda _: refuse(307, {}, Location="http://127.0.0.1:9/elsewhere"),
}
"""Faults of single requests."""
