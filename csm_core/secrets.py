"""Which environment variables are secrets, and texts without them."""

from __future__ import annotations

import os
from collections.abc import Mapping

SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "API_KEY", "AUTHORIZATION", "WEBHOOK", "DSN")
# Shorter values stand in ordinary words; no real secret is that short.
_SECRET_LENGTH = 6
_HIDDEN = "(hidden)"


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` without the values of environment variables that are named like secrets."""
    environment = os.environ if environment is None else environment
    for name, value in environment.items():
        if len(value) >= _SECRET_LENGTH and any(word in name.upper() for word in SECRET_WORDS):
            text = text.replace(value, _HIDDEN)
    return text
