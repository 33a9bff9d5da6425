"""A client for web APIs with timeouts and retries, whose error messages never contain the key.

It uses the HTTP session of dlt, which retries temporary errors (429, 5xx, dropped connections) and waits for the time
in `Retry-After`, at most five minutes. All requests only read data: a search sent with POST changes nothing, so it can
be retried as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.redaction import without_secrets
from csm_core.sources.settings_base import ApiSettings
from csm_core.system.project_files import extra_missing
from csm_core.system.secrets import secret
from csm_core.system.text_table import counted

EXTRA = "sources"
_LONGEST_WAIT_SECONDS = 300
_KEY_REJECTED = (401, 403)
_MISSING = 404
_TEMPORARY = (408, 429)
_TOO_MANY = 429


def require_dlt(system: str) -> ModuleType:
    """The dlt library. Raises ConfigError with the name of the extra if it is not installed."""
    try:
        import dlt
    except ImportError:
        missing = extra_missing(f"reading {system} by API", EXTRA)
        message = f"{missing} Files and landed tables do not need it."
        raise ConfigError(message) from None
    return dlt


def key_of(settings: ApiSettings, system: str) -> str:
    """The API key from the environment. Raises ConfigError if its variable is not set."""
    return secret(settings.key_variable, f"the key of {system}'s API")


def decoded(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for text that is not JSON."""
    import orjson

    try:
        return orjson.loads(text)
    except ValueError:
        # orjson rejects half of an escaped surrogate pair. Some APIs truncate text within an emoji.
        return json.loads(text)


def encoded(record: Any) -> bytes:
    """A record as JSON on one line."""
    import orjson

    try:
        return orjson.dumps(record)
    except TypeError:
        return json.dumps(record, separators=(",", ":")).encode()


class WebApi:
    """A client for one API. ``headers`` contain the key; no message contains them or ``secrets``.

    ``used_up`` gets the text of a response with status 429 and returns the reason if a retry cannot succeed.
    """

    def __init__(
        self,
        settings: ApiSettings,
        system: str,
        headers: Mapping[str, str],
        secrets: Sequence[str] = (),
        used_up: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        require_dlt(system)
        from dlt.sources.helpers.requests import Client

        self._settings = settings
        self._system = system
        self._headers = dict(headers)
        self._secrets = [*secrets, *(part for value in headers.values() for part in value.split() if len(part) > 6)]
        self._used_up = used_up
        self._client = Client(
            request_timeout=settings.timeout_seconds,
            raise_for_status=False,
            status_codes=range(500, 600),
            retry_condition=lambda response, _: (
                response is not None and response.status_code == _TOO_MANY and used_up(response.text) is None
            ),
            request_max_attempts=settings.attempts,
            request_max_retry_delay=_LONGEST_WAIT_SECONDS,
        )

    def get(
        self, path: str, parameters: Mapping[str, Any] | None = None, *, may_be_missing: bool = False
    ) -> dict[str, Any]:
        """The JSON object at a path below the base URL; an empty one for status 404 if it ``may_be_missing``.

        Raises ConfigError if the API rejects the key, SourceError if it rejects the request, and SourceUnavailableError
        if it cannot be reached or all attempts fail.
        """
        response = self._request("GET", path, dict, may_be_missing=may_be_missing, params=dict(parameters or {}))
        return cast("dict[str, Any]", response)

    def get_list(self, path: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The JSON list at a path. Raises as ``get``."""
        return cast("list[dict[str, Any]]", self._request("GET", path, list, params=dict(parameters or {})))

    def search(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The response to a search that is sent as JSON with POST. Raises as ``get``."""
        return cast("dict[str, Any]", self._request("POST", path, dict, json=dict(body)))

    def _request(
        self,
        method: str,
        path: str,
        kind: type[dict[Any, Any] | list[Any]],
        *,
        may_be_missing: bool = False,
        **more: Any,
    ) -> Any:
        from requests.exceptions import RequestException

        url = self._settings.base_url.rstrip("/") + path
        try:
            response = self._client.request(method, url, headers=self._headers, **more)
            status = int(response.status_code)
            value: Any = decoded(response.content) if status < 300 else None
        except RequestException as error:
            message = (
                f"{self._system}: {url} cannot be reached or the connection was lost "
                f"({counted(self._settings.attempts, 'attempt')}): {type(error).__name__}"
            )
            raise SourceUnavailableError(message) from None
        except ValueError:
            message = f"{self._system}: the response of {url} is not JSON; check `base_url`"
            raise SourceUnavailableError(message) from None
        if status in _KEY_REJECTED:
            message = (
                f"{self._system} rejects the key in {self._settings.key_variable} for {path} (status {status}); "
                "set a valid key that has permission to read this path"
            )
            raise ConfigError(message)
        if status == _MISSING and may_be_missing:
            return kind()
        reason = self._used_up(response.text) if status == _TOO_MANY else None
        if reason:
            message = f"{self._system}: {reason}"
            raise SourceUnavailableError(message)
        if status in _TEMPORARY or status >= 500:
            attempts = counted(self._settings.attempts, "attempt")
            message = f"{self._system}: {url} returned status {status} ({attempts})"
            raise SourceUnavailableError(message)
        if status >= 300:
            message = f"{self._system} rejects the request {path} (status {status}): {self._masked(response.text)}"
            raise SourceError(message)
        if not isinstance(value, kind):
            expected = "object" if kind is dict else "list"
            message = f"{self._system}: the response of {url} is not a JSON {expected}; check `base_url`"
            raise SourceUnavailableError(message)
        return value

    def _masked(self, text: str) -> str:
        for value in self._secrets:
            text = text.replace(value, "…")
        return " ".join(without_secrets(text).split())[:300]
