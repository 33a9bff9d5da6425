"""The errors of the API, with the format and the codes of Notion.

Source: https://developers.notion.com/reference/status-codes
"""

from __future__ import annotations

from typing import Any

MISSING = object()


class ApiError(Exception):
    """An error response: HTTP status, Notion's code, a message, and optional additional data."""

    def __init__(self, status: int, code: str, message: str, additional_data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.additional_data = additional_data

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON object of the response."""
        return error_body(self.status, self.code, self.message, request_id, self.additional_data)


def error_body(
    status: int, code: str, message: str, request_id: str, additional_data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Notion's error object."""
    body: dict[str, Any] = {"object": "error", "status": status, "code": code, "message": message}
    if additional_data is not None:
        body["additional_data"] = additional_data
    body["request_id"] = request_id
    return body


def invalid(message: str, additional_data: dict[str, Any] | None = None) -> ApiError:
    """400: the request is invalid and has no effect."""
    return ApiError(400, "validation_error", message, additional_data)


def invalid_parameter(path: str, expectation: str, value: Any = MISSING) -> ApiError:
    """400 for one part of the request, in Notion's words: ``body.x should be …, instead was …``."""
    part = path.split(".", 1)[0].split("[", 1)[0]
    shown = "" if value is MISSING else f", instead was `{_shown(value)}`"
    return invalid(f"{part} failed validation: {path} should be {expectation}{shown}.")


def not_found(kind: str, identifier: str) -> ApiError:
    """404: the object does not exist or is not shared with the integration; both have the same response."""
    return ApiError(
        404,
        "object_not_found",
        f"Could not find {kind} with ID: {identifier}. "
        "Make sure the relevant pages and databases are shared with your integration.",
    )


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
