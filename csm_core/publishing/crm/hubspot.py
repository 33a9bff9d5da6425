"""Records in HubSpot, by version 2026-03 of its CRM API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from csm_core.errors import ConfigError, PublishError
from csm_core.publishing.crm.field_checks import field_problems
from csm_core.publishing.crm.targets import Value
from csm_core.publishing.crm.upserts import BatchRejected, BatchResult, Examination, Outcome, Record, Vendor
from csm_core.publishing.crm.vendor_api import Answer, Sleep, VendorApi
from csm_core.system.crm_section import HubSpotDestination

VERSION = "2026-03"
_VENDOR = "HubSpot"
_MAX_INPUTS = 100
# The batch is not valid, is a conflict, is too large, or cannot be processed.
_REJECTED = (400, 409, 413, 422)
_SUCCESS = (200, 201, 207)


class HubSpot(Vendor):
    """Upserts by a unique property, with the token of a private app."""

    batch_size = _MAX_INPUTS

    def __init__(self, destination: HubSpotDestination, token: str, sleep: Sleep) -> None:
        super().__init__(
            VendorApi(
                _VENDOR,
                destination.base_url,
                timeout_seconds=destination.timeout_seconds,
                limit_message=daily_limit,
                sleep=sleep,
            )
        )
        self.api.hide(token)
        self._destination = destination
        self._headers = {"Authorization": f"Bearer {token}"}

    def send(self, records: Sequence[Record]) -> BatchResult:
        """Send an upsert; see ``Vendor.send``."""
        key = self._destination.key
        inputs = [
            {
                "id": record.key,
                "idProperty": key,
                # With an id of its own, HubSpot names the record in an error, and writes the others.
                "objectWriteTraceId": str(place),
                "properties": {field: property_text(value) for field, value in record.values.items()},
            }
            for place, record in enumerate(records)
        ]
        answer = self._post(f"{self._objects}/batch/upsert", {"inputs": inputs})
        if answer.status in _REJECTED:
            raise BatchRejected(self._message(answer))
        return self._result(answer, records)

    def existing(self, keys: Sequence[str]) -> set[str]:
        """Return the keys that have a record; see ``Vendor.existing``."""
        key = self._destination.key
        found: set[str] = set()
        for start in range(0, len(keys), _MAX_INPUTS):
            some = keys[start : start + _MAX_INPUTS]
            body = {"idProperty": key, "properties": [key], "inputs": [{"id": one} for one in some]}
            answer = self._post(f"{self._objects}/batch/read", body)
            if answer.status not in _SUCCESS:
                message = f"HubSpot rejects the look-up of records (status {answer.status}): {self._message(answer)}"
                raise PublishError(message)
            stored = {
                str(_mapping(one.get("properties")).get(key)).casefold()
                for one in _objects(answer.mapping().get("results"))
            }
            found |= {one for one in some if one.casefold() in stored}
        return found

    def examine(self) -> Examination:
        """Compare the settings with the properties of the object; see ``Vendor.examine``."""
        answer = self.api.request(
            "GET", f"/crm/properties/{VERSION}/{self._destination.object_name}", headers=self._headers
        )
        self._require_access(answer)
        properties = {str(one.get("name")): one for one in _objects(answer.mapping().get("results"))}
        read_only = {
            name
            for name, one in properties.items()
            if _mapping(one.get("modificationMetadata")).get("readOnlyValue") is True
        }
        unique = {name for name, one in properties.items() if one.get("hasUniqueValue") is True}
        return Examination(field_problems(self._destination, properties, unique, read_only, "property", "properties"))

    @property
    def _objects(self) -> str:
        return f"/crm/objects/{VERSION}/{self._destination.object_name}"

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        answer = self.api.request("POST", path, headers=self._headers, json=body)
        if answer.status not in (*_SUCCESS, *_REJECTED):
            self._require_access(answer)
        return answer

    def _require_access(self, answer: Answer) -> None:
        if answer.is_success:
            return
        place, said = f"{self.api.base_url}{self._objects}", self._message(answer)
        if answer.status == 401:
            message = (
                f"HubSpot rejects the token in {self._destination.token_variable}: {said}. Set the access token of a "
                "private app."
            )
            raise ConfigError(message)
        if answer.status == 403:
            message = (
                f"the token in {self._destination.token_variable} has no permission for "
                f"{self._destination.object_name}: {said}. Add the scopes for reading and writing it."
            )
            raise ConfigError(message)
        message = f"HubSpot rejects requests to {place} (status {answer.status}): {said}. Check `object`."
        raise ConfigError(message)

    def _message(self, answer: Answer) -> str:
        return self._of_error(answer.mapping()) or self.api.masked(answer.text) or f"status {answer.status}"

    def _of_error(self, error: Mapping[str, Any]) -> str:
        parts = [str(error.get("message") or "")]
        parts += [str(one.get("message") or "") for one in _objects(error.get("errors"))]
        return self.api.masked(" ".join(dict.fromkeys(part for part in parts if part)))

    def _result(self, answer: Answer, records: Sequence[Record]) -> BatchResult:
        result = BatchResult()
        by_trace = {str(place): record.key for place, record in enumerate(records)}
        by_key = {record.key.casefold(): record.key for record in records}
        body = answer.mapping()
        results = _objects(body.get("results"))
        for one in results:
            trace = str(one.get("objectWriteTraceId"))
            key = by_trace.get(trace) or by_key.get(
                str(_mapping(one.get("properties")).get(self._destination.key)).casefold()
            )
            if key is not None:
                result.outcomes[key] = Outcome(key, "written", _text(one.get("id")), one.get("new") is True)
        errors = _objects(body.get("errors"))
        for error in errors:
            said = self._of_error(error) or "rejected without a message"
            context = _mapping(error.get("context"))
            named = [by_trace.get(one) for one in _texts(context.get("objectWriteTraceId"))]
            named += [
                by_key.get(one.casefold())
                for name in ("ids", "id", self._destination.key)
                for one in _texts(context.get(name))
            ]
            keys = [key for key in named if key is not None]
            for key in keys:
                result.outcomes[key] = Outcome(key, "rejected", message=said)
            if not keys:
                result.unnamed = said
        complete = body.get("status") == "COMPLETE" and all(one.get("id") for one in results)
        if complete and answer.status != 207 and not errors and len(results) == len(records):
            # All of the batch was written, although some results cannot be assigned.
            for record in records:
                result.outcomes.setdefault(record.key, Outcome(record.key, "written"))
        return result


def property_text(value: Value) -> str:
    """Return a value as HubSpot's API has it: properties are text, and an empty text empties a property."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def daily_limit(status: int, value: Any) -> str | None:
    """What to say about a response with status 429 that is about the daily limit; None for any other response."""
    if status != 429 or not isinstance(value, dict):
        return None
    policy = str(cast("dict[str, Any]", value).get("policyName") or "")
    if policy.upper() != "DAILY":
        return None
    return "the daily limit of API requests is reached. The next run sends the records that are left."


def _objects(value: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", one) for one in items if isinstance(one, dict)]


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        return [str(one) for one in cast("list[Any]", value)]
    return [] if value is None else [str(value)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
