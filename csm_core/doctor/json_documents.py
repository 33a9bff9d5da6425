"""Reads files with one JSON document instead of JSON lines, and rewrites their samples as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from csm_core.doctor.source_samples import SAMPLE_RECORDS, Sample, object_of, text_of, write_text
from csm_core.ingest.text_files import opened

_DOCUMENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class JsonDocument:
    """A file that is one JSON document; ``under`` is the key of its records, None for an array."""

    under: str | None
    records: tuple[dict[str, Any], ...]


def json_document(sample: Sample, required: Sequence[str] = ()) -> JsonDocument | None:
    """The document of a file that is one JSON array, or one object with a list of records, instead of JSON lines."""
    text = (text_of(sample) or "").lstrip()
    if not text.startswith(("[", "{")):
        return None
    if text.startswith("{"):
        lines = text.split("\n", 1)
        first = object_of(lines[0])
        if first is not None and (len(lines) > 1 and lines[1].strip()):
            return None
        if first is not None and (not required or set(required) & set(first)):
            return None
    document = _document(sample)
    if isinstance(document, list):
        return JsonDocument(None, _objects(cast("list[Any]", document)))
    if isinstance(document, dict):
        lists = ((key, value) for key, value in cast("dict[str, Any]", document).items() if isinstance(value, list))
        record_lists = {key: records for key, value in lists if (records := _objects(cast("list[Any]", value)))}
        name = sample.path.name.split(".", 1)[0].lower()
        if record_lists:
            under = max(record_lists, key=lambda key: (key.lower() == name, len(record_lists[key])))
            return JsonDocument(under, record_lists[under])
    return JsonDocument(None, ()) if text.startswith("[") else None


def write_json_lines(sample: Sample, records: Sequence[Mapping[str, Any]]) -> None:
    """Rewrite the copy as JSON lines."""
    kept = records[:SAMPLE_RECORDS]
    sample.whole = len(kept) == len(records)
    lines = [json.dumps(record) for record in kept]
    write_text(sample.copy, "\n".join([*lines, ""]).encode("utf-8", errors="surrogateescape"))


def _document(sample: Sample) -> object:
    with opened(sample.path) as stream:
        content = stream.read(_DOCUMENT_BYTES + 1)
    if len(content) > _DOCUMENT_BYTES:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _objects(values: list[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(cast("dict[str, Any]", value) for value in values if isinstance(value, dict))
