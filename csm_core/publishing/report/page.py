"""Renders a report as one HTML file without scripts and requests, byte-identical for equal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from csm_core.publishing.report.figures import Result, label_of, shown_value
from csm_core.publishing.report.shown_text import displayable

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Page:
    """A report: its heading, sentences below it, the results of its figures, and the advice of the account report.

    The first result is shown as tiles, the others as sections.
    """

    heading: str
    sentences: Sequence[str]
    results: Sequence[Result]
    next_steps: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as HTML. All text from sources is escaped and cannot change the direction of the text around it."""
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    tiles, *sections = page.results
    return templates.get_template("report.html").render(
        page=page,
        tiles=_tiles(tiles),
        tiles_sql=tiles.figure.sql,
        sections=sections,
        style=Markup(_style()),  # noqa: S704  our own file
    )


def _style() -> str:
    return (_TEMPLATES / "report.css").read_text(encoding="utf-8")


def _visible(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else displayable(value)


def _tiles(result: Result) -> list[tuple[str, str]]:
    row = result.rows[0]
    return [(label_of(column), shown_value(column, row[column])) for column in result.columns]
