"""Removes the values of secrets from all output."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, quote_plus, unquote

SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "API_KEY", "AUTHORIZATION", "WEBHOOK", "DSN")
_VARIABLE_WORDS = (*SECRET_WORDS, "_KEY", "PASSWD", "PASSPHRASE", "CREDENTIAL")
# Shorter values occur in ordinary words; real secrets are longer.
_SECRET_LENGTH = 6
# Characters of base64 that identify a value inside a longer text.
_BASE64_LENGTH = 8
_PATH_LENGTH = 8
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-=")
_HIDDEN = "(hidden)"

# Variables that this process read as secrets, whatever their name.
_secret_variables: set[str] = set()


def hide_variable(name: str) -> None:
    """Treat an environment variable as a secret, whatever its name."""
    _secret_variables.add(name)


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return ``text`` without the values of secret variables, plain or encoded.

    Encoded forms are Python and JSON escapes, URL and HTML encoding, and base64, including base64 of a longer text
    such as ``user:secret``.
    """
    forms, cores = _patterns(_values(os.environ if environment is None else environment))
    if cores is not None:
        text = _without_base64(text, cores)
    return forms.sub(_HIDDEN, text) if forms is not None else text


def without_secrets_inside(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return a JSON value with ``without_secrets`` applied to every string in it, keys included."""
    if isinstance(value, str):
        return without_secrets(value, environment)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {
            without_secrets_inside(key, environment): without_secrets_inside(one, environment)
            for key, one in mapping.items()
        }
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        changed = [without_secrets_inside(one, environment) for one in items]
        return changed if isinstance(value, list) else tuple(changed)
    return value


def anything_to_hide(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment contains any secret."""
    return bool(_values(os.environ if environment is None else environment))


def _values(environment: Mapping[str, str]) -> frozenset[str]:
    return frozenset(
        value
        for name, value in environment.items()
        if len(value) >= _SECRET_LENGTH and (name in _secret_variables or _is_secret(name))
    )


# A run redacts thousands of texts with the current environment; only the names can be cached.
@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    upper = name.upper()
    return any(word in upper for word in _VARIABLE_WORDS)


@lru_cache(maxsize=32)
def _patterns(values: frozenset[str]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """Return patterns for the written forms of the values and for their base64 parts; None without values."""
    forms: set[str] = set()
    cores: set[str] = set()
    for value in values:
        for part in _parts(value):
            forms |= _forms(part)
            cores |= _base64_cores(part)
    return _any_of(forms), _any_of(cores)


def _any_of(texts: set[str]) -> re.Pattern[str] | None:
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _without_base64(text: str, cores: re.Pattern[str]) -> str:
    """Return ``text`` without the complete base64 strings that contain a secret."""
    kept: list[str] = []
    end = 0
    for found in cores.finditer(text):
        if found.start() < end:
            continue
        start, stop = found.span()
        while start > end and text[start - 1] in _BASE64:
            start -= 1
        while stop < len(text) and text[stop] in _BASE64:
            stop += 1
        kept += [text[end:start], _HIDDEN]
        end = stop
    return "".join([*kept, text[end:]]) if kept else text


def _parts(value: str) -> Iterator[str]:
    """Yield the secret parts of a value: the value, its lines, and the password and path of an address."""
    candidates = [value, value.strip(), " ".join(value.split()), *value.splitlines()]
    address = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://(?:([^/]*)@)?[^/]*(/.*)?", value)
    if address:
        password = (address[1] or "").partition(":")[2]
        candidates += [password, unquote(password)]
        if not value.lower().startswith("postgres"):
            # The last part of a webhook path is secret.
            segments = (address[2] or "").strip("/").split("/")
            endings = ["/".join(segments[place:]) for place in range(len(segments))]
            candidates += [ending for ending in endings if len(ending) >= _PATH_LENGTH]
    candidates += [one.strip("'") for one in re.findall(r"\bpassword\s*=\s*('[^']*'|\S+)", value)]
    yield from {one for one in candidates if len(one) >= _SECRET_LENGTH}


def _forms(value: str) -> set[str]:
    raw = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        repr(value)[1:-1],
        ascii(value)[1:-1],
        repr(raw)[2:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
        raw.hex(),
    }
    for encoded in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        forms |= {encoded, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)}
    # Each form may be escaped again, for example in a message inside a log line.
    forms |= {json.dumps(form)[1:-1] for form in forms} | {repr(form)[1:-1] for form in forms}
    return {form for form in forms if len(form) >= _SECRET_LENGTH}


def _base64_cores(value: str) -> set[str]:
    """Return the base64 characters that a value always produces, for each of its three possible offsets."""
    raw = value.encode("utf-8", "surrogatepass")
    cores: set[str] = set()
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * before + raw + b"\0\0\0").decode()
        core = encoded[skipped : (before + len(raw)) * 8 // 6]
        if len(core) >= _BASE64_LENGTH:
            cores |= {core, core.replace("+", "-").replace("/", "_")}
    return cores
