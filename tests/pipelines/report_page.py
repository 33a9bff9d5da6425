"""Reads a report as a person does: sections with their tables and queries; and compares its numbers with `csm sql`."""

import json
import re
from html.parser import HTMLParser

from csm_core.analysts.queries import query_published
from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.warehouse.database import Warehouse

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Report(HTMLParser):
    """The sections of a report: the heading, the cells of its table and its query; and every tag and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, dict[str, list]] = {}
        self.open: list[str] = []
        self._section: dict[str, list] = {"rows": [], "query": [], "title": []}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._section = {"rows": [], "query": [], "title": []}
        if tag == "tr":
            self._section["rows"].append([])
        if tag in ("td", "th"):
            self._section["rows"][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.sections["".join(self._section["title"])] = self._section

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self._section["rows"][-1][-1] += data
        elif "pre" in self.open:
            self._section["query"].append(data)
        elif "h2" in self.open:
            self._section["title"].append(data)


def same(cell: str, value) -> bool:
    """Whether a cell shows a value: numbers are rounded, shares are in percent, and signals have display names."""
    if value is None:
        return cell == "–"
    if isinstance(value, bool):
        return cell == ("yes" if value else "no")
    if isinstance(value, str):
        try:
            # Decimals are text in JSON.
            value = float(value) if re.fullmatch(r"-?\d+\.\d+", value) and cell != value else value
        except ValueError:
            return False
    if isinstance(value, str) and cell.endswith("…"):
        return value.startswith(cell[:-1])
    if isinstance(value, str):
        return (
            cell in (value, value.replace("_", " "), SIGNALS.get(value), TRIGGERS.get(value))
            or cell.split() == value.split()
        )
    shown = float(cell.replace(",", "").rstrip("%"))
    return abs(shown - (value * 100 if cell.endswith("%") else value)) <= 0.0501


def check_numbers(company, html: str) -> int:
    """Compare the tables with what their queries return; returns the number of compared rows."""
    warehouse = Warehouse.from_config(company.config)
    compared = 0
    for title, section in Report(html).sections.items():
        if not section["query"]:
            continue
        rows = json.loads(query_published(warehouse, "".join(section["query"]), "json"))
        shown = section["rows"][1:]
        assert bool(rows) == bool(shown) or title == "Today", title
        for row, cells in zip(rows, shown, strict=False):
            values = list(row.values())[: len(cells)]
            assert [same(cell, value) for cell, value in zip(cells, values, strict=True)] == [True] * len(cells), title
            compared += 1
    return compared
