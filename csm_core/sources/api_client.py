"""Asking a vendor's web API: patience, and errors that say what is wrong and never hold the key.

The HTTP session is dlt's: it times out, tries again after what may pass (429, 5xx, dropped connections), and waits as
long as `Retry-After` says, at most five minutes. Only what reads is asked for: a search that is posted changes nothing,
so it can be asked again as well.
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

EXTRA = "sources"
_LONGEST_WAIT_SECONDS = 300
_REFUSED = (401, 403)
_MISSING = 404
_FOR_NOW = (408, 429)
_TOO_MANY = 429


def require_dlt(system: str) -> ModuleType:
    """The dlt library. Raises ConfigError naming the extra where it is not installed."""
    try:
        import dlt
    except ImportError:
        missing = extra_missing(f"reading {system} by API", EXTRA)
        message = f"{missing} Files and landed tables are read without it."
        raise ConfigError(message) from None
    return dlt


def key_of(settings: ApiSettings, system: str) -> str:
    """The secret that the settings name. Raises ConfigError where the environment does not have it."""
    return secret(settings.key_variable, f"the key of {system}'s API")


def decoded(text: bytes) -> Any:
    """What JSON says. Raises ValueError for what is none."""
    import orjson

    try:
        return orjson.loads(text)
    except ValueError:
        # Half of an emoji, escaped, is no Unicode; some APIs cut texts so.
        return json.loads(text)


def encoded(record: Any) -> bytes:
    """A record as JSON on one line."""
    import orjson

    try:
        return orjson.dumps(record)
    except TypeError:
        return json.dumps(record, separators=(",", ":")).encode()


class WebApi:
    """Questions to one API. ``headers`` carry the key; they and ``secrets`` appear in no message.

    ``used_up`` tells from the text of an answer 429 that waiting is no help, and says why.
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
        """The JSON object at a path below the base URL; empty for one that may be missing, and is.

        Raises ConfigError when the key is refused, SourceError when the request is, and SourceUnavailableError when the
        API cannot be reached or keeps failing.
        """
        answer = self._ask("GET", path, dict, may_be_missing=may_be_missing, params=dict(parameters or {}))
        return cast("dict[str, Any]", answer)

    def get_list(self, path: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The JSON list at a path. Raises as ``get``."""
        return cast("list[dict[str, Any]]", self._ask("GET", path, list, params=dict(parameters or {})))

    def search(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the API answers to a search that is posted as JSON. Raises as ``get``."""
        return cast("dict[str, Any]", self._ask("POST", path, dict, json=dict(body)))

    def _ask(
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
            found: Any = decoded(response.content) if status < 300 else None
        except RequestException as error:
            message = (
                f"{self._system}: {url} cannot be reached or breaks off, tried {self._settings.attempts} times: "
                f"{type(error).__name__}"
            )
            raise SourceUnavailableError(message) from None
        except ValueError:
            message = f"{self._system}: {url} does not answer with JSON: is `base_url` right?"
            raise SourceUnavailableError(message) from None
        if status in _REFUSED:
            message = (
                f"{self._system} refuses the key in {self._settings.key_variable} for {path} (status {status}): "
                "it has to be valid and allowed to read this"
            )
            raise ConfigError(message)
        if status == _MISSING and may_be_missing:
            return kind()
        reason = self._used_up(response.text) if status == _TOO_MANY else None
        if reason:
            message = f"{self._system}: {reason}"
            raise SourceUnavailableError(message)
        if status in _FOR_NOW or status >= 500:
            message = f"{self._system}: {url} answers with status {status}, tried {self._settings.attempts} times"
            raise SourceUnavailableError(message)
        if status >= 300:
            message = f"{self._system} refuses {path} (status {status}): {self._said(response.text)}"
            raise SourceError(message)
        if not isinstance(found, kind):
            wanted = "object" if kind is dict else "list"
            message = f"{self._system}: {url} answers with something else than a JSON {wanted}: is `base_url` right?"
            raise SourceUnavailableError(message)
        return found

    def _said(self, text: str) -> str:
        for value in self._secrets:
            text = text.replace(value, "…")
        return " ".join(without_secrets(text).split())[:300]
