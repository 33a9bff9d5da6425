"""Checksums of whole files, computed while a file is read or copied."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_CHUNK_BYTES = 4 * 1024 * 1024


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_file(origin: Path, target: Path) -> str:
    """Copy a file's content; returns the SHA-256 of the copied bytes."""
    digest = hashlib.sha256()
    with origin.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(_CHUNK_BYTES):
            digest.update(chunk)
            written.write(chunk)
    return digest.hexdigest()


def write_through(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
