"""Records in Salesforce, by sObject Collections of its REST API and the OAuth client-credentials flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from csm_core.errors import ConfigError, PublishError
from csm_core.publishing.crm.field_checks import field_problems
from csm_core.publishing.crm.upserts import BatchRejected, BatchResult, Examination, Outcome, Record, Vendor
from csm_core.publishing.crm.vendor_api import Answer, LimitReached, Sleep, VendorApi
from csm_core.system.crm_section import SalesforceDestination

_VENDOR = "Salesforce"
_MAX_RECORDS = 200
# A query is part of the address, whose length Salesforce limits to 16,384 characters.
_MAX_QUERY = 6000
_LIMIT = "REQUEST_LIMIT_EXCEEDED"
_LIMIT_MESSAGE = "the limit of API requests in 24 hours is reached. The next run sends the records that are left."
# Errors of single records that pass.
_TEMPORARY_CODES = ("UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT")


class Salesforce(Vendor):
    """Upserts by an external-id field. A session that has expired is opened again once for each request.

    All requests go to the configured address of the org, whatever address the answer with the session states.
    """

    batch_size = _MAX_RECORDS

    def __init__(
        self, destination: SalesforceDestination, base_url: str, client_id: str, client_secret: str, sleep: Sleep
    ) -> None:
        super().__init__(
            VendorApi(
                _VENDOR,
                base_url,
                timeout_seconds=destination.timeout_seconds,
                limit_message=limit_message,
                sleep=sleep,
            )
        )
        self.api.hide(client_secret)
        self._destination = destination
        self._client = {"client_id": client_id, "client_secret": client_secret}
        self._token = ""

    def send(self, records: Sequence[Record]) -> BatchResult:
        """Send an upsert; see ``Vendor.send``."""
        named, key = self._destination.object_name, self._destination.key
        body = {
            "allOrNone": False,
            "records": [{**record.values, "attributes": {"type": named}, key: record.key} for record in records],
        }
        answer = self._authorised("PATCH", f"{self._data}/composite/sobjects/{named}/{key}", json=body)
        if answer.status in (400, 409, 413):
            raise BatchRejected(self._message(answer))
        self._require_access(answer)
        return self._result(answer, records)

    def existing(self, keys: Sequence[str]) -> set[str]:
        """Return the keys that have a record; see ``Vendor.existing``."""
        key, found = self._destination.key, set[str]()
        for some in _portions(keys):
            listed = ", ".join(f"'{_escaped(one)}'" for one in some)
            query = f"SELECT {key} FROM {self._destination.object_name} WHERE {key} IN ({listed})"
            answer = self._authorised("GET", f"{self._data}/query?q={quote(query, safe='')}")
            if answer.status == 400:
                message = f"Salesforce rejects the look-up of records: {self._message(answer)}"
                raise PublishError(message)
            self._require_access(answer)
            stored = {str(one.get(key)).casefold() for one in _objects(answer.mapping().get("records"))}
            found |= {one for one in some if one.casefold() in stored}
        return found

    def examine(self) -> Examination:
        """Compare the settings with the fields of the object; see ``Vendor.examine``."""
        answer = self._authorised("GET", f"{self._data}/sobjects/{self._destination.object_name}/describe")
        self._require_access(answer)
        fields = {str(one.get("name")): one for one in _objects(answer.mapping().get("fields"))}
        unique = {name for name, one in fields.items() if one.get("externalId") is True}
        read_only = {name for name, one in fields.items() if one.get("updateable") is False}
        return Examination(field_problems(self._destination, fields, unique, read_only, "field", "fields"))

    @property
    def _data(self) -> str:
        return f"/services/data/{self._destination.api_version}"

    def _authorised(self, method: str, path: str, **more: Any) -> Answer:
        if not self._token:
            self._open_session()
        answer = self._request(method, path, more)
        if answer.status == 401:
            # The session has expired or was revoked.
            self._open_session()
            answer = self._request(method, path, more)
        return answer

    def _request(self, method: str, path: str, more: Mapping[str, Any]) -> Answer:
        return self.api.request(method, path, headers={"Authorization": f"Bearer {self._token}"}, **more)

    def _open_session(self) -> None:
        answer = self.api.request(
            "POST", "/services/oauth2/token", data={"grant_type": "client_credentials", **self._client}
        )
        token = answer.mapping().get("access_token")
        if not answer.is_success or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            said = str(answer.mapping().get("error_description") or answer.mapping().get("error") or answer.status)
            message = (
                f"Salesforce opens no session for the app in {self._destination.client_id_variable} and "
                f"{self._destination.client_secret_variable}: {self.api.masked(said)}. Check both, and that the app "
                "allows the client-credentials flow."
            )
            raise ConfigError(message)
        self.api.hide(token)
        self._token = token

    def _require_access(self, answer: Answer) -> None:
        if answer.is_success:
            return
        advice = {
            401: "Check that the user of the app may use the API.",
            403: f"Give the user of the app permission for {self._destination.object_name} and its fields.",
            404: "Check `object`, `key` (an external-id field) and `api_version`.",
        }.get(answer.status, "Check the settings of the destination.")
        message = f"Salesforce rejects the request (status {answer.status}): {self._message(answer)}. {advice}"
        raise ConfigError(message)

    def _message(self, answer: Answer) -> str:
        return self._of_errors(answer.value) or self.api.masked(answer.text) or f"status {answer.status}"

    def _of_errors(self, errors: Any) -> str:
        parts: list[str] = []
        for one in _objects(errors):
            code = one.get("statusCode") or one.get("errorCode")
            parts.append(": ".join(str(part) for part in (code, one.get("message")) if part))
        return self.api.masked("; ".join(parts))

    def _result(self, answer: Answer, records: Sequence[Record]) -> BatchResult:
        result = BatchResult()
        results = _objects(answer.value)
        if len(results) != len(records):
            # Results have no key, only the order of the request.
            return result
        for record, one in zip(records, results, strict=True):
            errors = _objects(one.get("errors"))
            codes = {str(error.get("statusCode")) for error in errors}
            if one.get("success") is True:
                record_id = one.get("id")
                result.outcomes[record.key] = Outcome(
                    record.key, "written", None if record_id is None else str(record_id), one.get("created") is True
                )
            elif _LIMIT in codes:
                raise LimitReached(f"{_VENDOR}: {_LIMIT_MESSAGE}")
            elif codes & set(_TEMPORARY_CODES):
                result.reasons[record.key] = self._of_errors(errors)
            else:
                said = self._of_errors(errors) or "rejected without a message"
                result.outcomes[record.key] = Outcome(record.key, "rejected", message=said)
        return result


def limit_message(status: int, value: Any) -> str | None:
    """What to say about a response with status 403 that is about the daily limit; None for any other response."""
    if status == 403 and any(one.get("errorCode") == _LIMIT for one in _objects(value)):
        return _LIMIT_MESSAGE
    return None


def _objects(value: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", one) for one in items if isinstance(one, dict)]


def _portions(keys: Sequence[str]) -> Iterator[list[str]]:
    """Yield portions of the keys whose queries are short enough."""
    some: list[str] = []
    length = 0
    for key in keys:
        size = len(quote(f"'{_escaped(key)}', ", safe=""))
        if some and length + size > _MAX_QUERY:
            yield some
            some, length = [], 0
        some.append(key)
        length += size
    if some:
        yield some


def _escaped(text: str) -> str:
    """Return a text for a SOQL literal in single quotes."""
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
