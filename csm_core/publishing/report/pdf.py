"""Prints a report as PDF with an installed Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from csm_core.errors import InputError, RunError

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT_SECONDS = 120


def require_chromium() -> str:
    """The path of Chromium. Raises InputError if it is not installed."""
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    message = f"--pdf needs Chromium: install it, so that one of {', '.join(_PROGRAMS)} is on the PATH"
    raise InputError(message)


def print_as_pdf(html: Path, pdf: Path) -> Path:
    """Print an HTML file as PDF; returns its path. Raises InputError without Chromium, RunError if printing fails."""
    program = require_chromium()
    # Chromium refuses its own sandbox to the administrator; the page has no script.
    administrator = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="csm_report_") as profile:
        command = [program, "--headless", "--disable-gpu", *administrator, f"--user-data-dir={profile}"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={pdf.absolute()}", html.absolute().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            message = f"Chromium did not print {html} within {_TIMEOUT_SECONDS} seconds"
            raise RunError(message) from None
    if done.returncode or not pdf.is_file():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        message = f"Chromium could not print {html} (status {done.returncode}): {' '.join(last) or 'no message'}"
        raise RunError(message)
    return pdf
