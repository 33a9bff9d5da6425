"""Generates the parts of the documentation that come from the code: signals, marts, configuration keys and so on.

``make docs`` runs it; a test fails if a generated part is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from csm_core.config import PROJECT_ROOT, Config
from csm_core.contract import ENTITIES
from csm_core.devtools.contract_docs import column_tables
from csm_core.rubric import churn_markdown_table, markdown_table, thresholds_markdown
from csm_core.warehouse.models import load_filled_tables, load_models

_BEGIN = "<!-- generated: {name} -->"
_END = "<!-- end: {name} -->"


def marts() -> str:
    """All marts with description, grain and columns."""
    parts: list[str] = []
    filled = load_filled_tables()
    for name, model in sorted((load_models("marts") | filled).items()):
        kind = "one partition per day" if model.partitioned else "rebuilt completely"
        if name in filled:
            kind = "rows are only added" if model.partitioned else "replaced completely"
        parts.append(f"### `{model.table}`\n\n{' '.join(model.description.split())}\n")
        parts.append(f"One row per {', '.join(f'`{column}`' for column in model.grain)}; {kind}.\n")
        parts.append("| column | meaning |\n| --- | --- |")
        parts += [f"| `{name}` | {_cell(text)} |" for name, text in model.columns.items()]
        parts.append("")
    return "\n".join(parts).strip()


def contract() -> str:
    """The staged contract, to which all sources are converted."""
    lines = ["| entity | columns |", "| --- | --- |"]
    for entity in ENTITIES.values():
        columns = ", ".join(f"**{column.name}**" if column.required else column.name for column in entity.columns)
        lines.append(f"| `{entity.name}`{' (required)' if entity.mandatory else ''} | {columns} |")
    return "\n".join(lines)


def configuration() -> str:
    """All keys of csm.yaml with their defaults."""
    lines = ["| key | default |", "| --- | --- |"]
    lines += _keys(Config, "")
    return "\n".join(lines)


def _keys(section: type[BaseModel], prefix: str) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            lines += _keys(type(default), f"{prefix}{name}.")
        else:
            lines.append(f"| `{prefix}{field.alias or name}` | {_default(default)} |")
    return lines


def _default(value: object) -> str:
    if value == {}:
        return "none"
    if isinstance(value, tuple):
        items = [_default(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(items) or "none"
    if isinstance(value, Path):
        return f"`{value.relative_to(PROJECT_ROOT)}`"
    if isinstance(value, BaseModel):
        changed_values = value.model_dump(exclude_none=True, exclude_defaults=True)
        return "`" + ", ".join(f"{key}: {_plain(item)}" for key, item in changed_values.items()) + "`"
    return "none" if value is None else f"`{value}`"


def _plain(value: object) -> str:
    return str(value.relative_to(PROJECT_ROOT)) if isinstance(value, Path) else str(value)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "signals": markdown_table,
    "thresholds": thresholds_markdown,
    "churn": churn_markdown_table,
    "marts": marts,
    "contract": contract,
    "columns": column_tables,
    "configuration": configuration,
}


def generated_files(root: Path = PROJECT_ROOT) -> list[Path]:
    """The pages that may contain generated parts."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def render(text: str) -> str:
    """``text`` with all generated parts replaced by their current content."""
    for name, part in PARTS.items():
        begin, end = _BEGIN.format(name=name), _END.format(name=name)
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f"{before}{begin}\n\n{part()}\n\n{end}{after}"
    return text


def main() -> int:
    """``python -m csm_core.devtools.docs [--check]``: write the generated parts, or exit with 1 if one differs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    stale = 0
    for page in generated_files():
        text = page.read_text(encoding="utf-8")
        fresh = render(text)
        if fresh != text:
            stale += 1
            sys.stdout.write(f"{'out of date' if check else 'written'}: {page.relative_to(PROJECT_ROOT)}\n")
            if not check:
                page.write_text(fresh, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
