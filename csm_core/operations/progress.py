"""Shows the progress of a run on standard error: one updated line on a terminal, one line per layer in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from csm_core.logging import get_logger
from csm_core.system.terminal import write_rewritten_line
from csm_core.system.text_table import counted

_LAYERS = (("raw_", "raw"), ("stg_", "staging"), ("int_", "intermediate"), ("csm_", "marts"), ("notion_", "publish"))


def log_progress(asset: str, facts: Mapping[str, Any]) -> None:
    """Log that ``asset`` is complete, with its figures."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in facts.items()}
    get_logger(__name__).info("asset done", asset=asset, **rounded)


BRIEF_SECONDS = 5.0


class Progress:
    """Called with each completed asset; ``quiet`` only logs.

    ``brief`` shows the whole run in one line: updated on a terminal, repeated every few seconds in a log.
    """

    def __init__(self, *, quiet: bool = False, brief: bool = False) -> None:
        self._quiet = quiet
        self._brief = brief
        self._shown = time.monotonic()
        self._assets = 0
        self._terminal = sys.stderr.isatty()
        self._layer = ""
        self._count = 0
        self._rows = 0
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._brief and self._terminal and not self._quiet and self._assets:
            write_rewritten_line("")
        self._close_layer()

    def __call__(self, asset: str, facts: Mapping[str, Any]) -> None:
        """Show and log that ``asset`` is complete; ``facts`` may contain ``rows`` and ``layer``."""
        log_progress(asset, facts)
        if self._quiet:
            return
        if self._brief:
            self._show_briefly(asset)
            return
        layer = facts.get("layer") or next((name for prefix, name in _LAYERS if asset.startswith(prefix)), asset)
        if layer != self._layer:
            self._close_layer()
            self._layer, self._count, self._rows, self._since = layer, 0, 0, time.monotonic()
        self._count += 1
        self._rows += int(facts.get("rows") or 0)
        if self._terminal:
            write_rewritten_line(f"  {self._line()}  {asset}")

    def _show_briefly(self, asset: str) -> None:
        self._assets += 1
        now = time.monotonic()
        line = f"  {self._assets:>3} {'asset' if self._assets == 1 else 'assets'} done  {now - self._since:5.1f} s"
        if self._terminal:
            write_rewritten_line(f"{line}  {asset}")
        elif now - self._shown > BRIEF_SECONDS:
            self._shown = now
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _line(self) -> str:
        seconds = time.monotonic() - self._since
        return f"{self._layer:<13} {self._count:>3} done  {counted(self._rows, 'row'):>17}  {seconds:6.1f} s"

    def _close_layer(self) -> None:
        if self._layer and not self._quiet:
            if self._terminal:
                write_rewritten_line(f"  {self._line()}", end="\n")
            else:
                sys.stderr.write(f"  {self._line()}\n")
                sys.stderr.flush()
        self._layer = ""
