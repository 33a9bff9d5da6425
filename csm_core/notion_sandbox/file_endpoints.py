"""The endpoints for file uploads, and files in blocks. See https://developers.notion.com/reference/file-upload"""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter, not_found
from csm_core.notion_sandbox.lookup import Answer, Call, Lookup
from csm_core.notion_sandbox.store_file import Row
from csm_core.notion_sandbox.validation import as_choice, as_id, as_object, as_text

# The types that the sandbox shows; Notion accepts more.
CONTENT_TYPES = ("image/png",)
_LONGEST_NAME = 900


class FileEndpoints:
    """``/v1/file_uploads``, for files that are sent in one part."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._files = look.store.files

    def create(self, call: Call) -> Answer:
        """POST /v1/file_uploads."""
        body = as_object(call.body or {}, "body", ("mode", "filename", "content_type"))
        as_choice(body.get("mode", "single_part"), "body.mode", ("single_part",))
        name = as_text(body.get("filename", MISSING), "body.filename", _LONGEST_NAME)
        kind = as_choice(body.get("content_type", "image/png"), "body.content_type", CONTENT_TYPES)
        return self._answer(self._files.add(name, kind))

    def send(self, call: Call) -> Answer:
        """POST /v1/file_uploads/{id}/send: the body is a form with the part ``file``."""
        row = self._file(call.id)
        if row["content"] is not None:
            raise invalid("The file upload is already uploaded.")
        if not isinstance(call.body, bytes):
            raise invalid_parameter("body.file", "defined, instead was `undefined`")
        if not call.body.startswith(b"\x89PNG\r\n"):
            raise invalid(f"The content of the file is not {row['content_type']}.")
        return self._answer(self._files.send(row, call.body))

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/file_uploads/{id}."""
        return self._answer(self._file(call.id))

    def _file(self, identifier: str) -> Row:
        upload_id = as_id(identifier, "path.file_upload_id")
        row = self._files.find(upload_id)
        if row is None:
            raise not_found("file_upload", upload_id)
        return row

    def _answer(self, row: Row) -> Answer:
        user = self._look.store.meta("bot")
        return {
            "object": "file_upload",
            "id": row["id"],
            "created_time": f"{row['created_at']}:00.000Z",
            "created_by": {"id": user, "type": "bot"},
            "filename": row["name"],
            "content_type": row["content_type"],
            "content_length": None if row["content"] is None else len(row["content"]),
            "status": "pending" if row["content"] is None else "uploaded",
            "in_trash": False,
            "archived": False,
        }


def require_uploaded(look: Lookup, types_and_contents: list[tuple[str, dict[str, Any]]]) -> None:
    """Raise an error for an image whose file was not uploaded."""
    for kind, content in types_and_contents:
        upload_id = content["file"]["id"] if kind == "image" and "file" in content else None
        if upload_id is not None:
            row = look.store.files.find(upload_id)
            if row is None:
                raise not_found("file_upload", upload_id)
            if row["content"] is None:
                raise invalid(f"The file upload {upload_id} is pending; send its content before it is attached.")


def form_file(content_type: str, body: bytes) -> bytes | None:
    """The content of the part ``file`` of a form; None if there is none."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in message.iter_parts():
        if part.get_param("name", header="content-disposition") == "file":
            content: Any = part.get_payload(decode=True)
            return bytes(content)
    return None
