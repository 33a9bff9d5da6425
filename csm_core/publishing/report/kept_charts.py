"""Takes unchanged charts from an earlier report: drawing them takes longer than the rest of the report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from csm_core.analysts import drawing
from csm_core.publishing.report import charts

_CHART = re.compile(r'<figure data-drawn-from="([0-9a-f]{64})">(.*?)</figure>', re.DOTALL)


@dataclass(frozen=True)
class KeptCharts:
    """The charts of an earlier report as SVG elements, by the digest of what they were drawn from."""

    charts: Mapping[str, str]

    @classmethod
    def of_report(cls, path: Path) -> KeptCharts:
        """The charts of a report; none if there is no file."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls({})
        return cls(dict(_CHART.findall(text)))


NONE = KeptCharts({})
"""No charts: all are drawn."""


def digest_of(*drawn_from: object) -> str:
    """The digest of all that a chart depends on: the given values, the code that draws it, and matplotlib's version."""
    return hashlib.sha256(repr((*drawn_from, _code())).encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _code() -> tuple[str, ...]:
    sources = [inspect.getsource(module) for module in (drawing, charts)]
    return importlib.metadata.version("matplotlib"), *sources
