"""Phrases that were removed stay removed: ``removed_phrases.yml`` lists them, with what to write instead."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from csm_core.config import PROJECT_ROOT

FOLDERS = ("csm_core", "assets", "pipelines", "sql", "docs", "deploy")
TEXT = {".py", ".sql", ".yml", ".yaml", ".md", ".html", ".toml", ".service", ".timer", ".env", ".example", ".sh"}
PHRASES = {
    entry["removed"]: entry["write"]
    for entry in yaml.safe_load(Path(__file__).with_name("removed_phrases.yml").read_text(encoding="utf-8"))
}
# Where a line goes on in the next one: a string of several parts, a comment, a quotation of Markdown.
_CONTINUED = re.compile(r"""["']\s*\n\s*f?["']|\n[ \t]*(?:\#|--|>)[ \t]?""")


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (path for path in (PROJECT_ROOT / folder).rglob("*") if path.suffix in TEXT)
    yield from (PROJECT_ROOT / page for page in ("README.md", "CONTRIBUTING.md"))
    yield from (PROJECT_ROOT / "examples").rglob("*.md")


def words(text: str) -> str:
    """The words of a text in lower case, each between single spaces, without line breaks and commas."""
    joined = _CONTINUED.sub(lambda found: "" if found[0][0] in "\"'" else " ", text)
    return f" {' '.join(joined.lower().replace(',', ' ').split())} "


def removed_phrases(text: str) -> list[str]:
    found = words(text)
    return [phrase for phrase in PHRASES if re.search(rf"(?<![\w-]){re.escape(words(phrase).strip())}(?![\w-])", found)]


@pytest.mark.parametrize(
    "text",
    [
        "It Stands more than once.",
        'raise InputError(\n    f"{name} stands more "\n    "than once"\n)',
        "# a key that stands\n# more than once is",
        "-- which stands more\n    -- than once",
        "> stands more\n> than once",
    ],
)
def test_a_removed_phrase_is_found_across_lines(text):
    assert removed_phrases(text) == ["stands more than once"]


@pytest.mark.parametrize("text", ["It appears more than once.", "Backups", "the stretched form", "stands\n\nmore"])
def test_other_text_is_not(text):
    assert removed_phrases(text) == []


def test_no_removed_phrase_comes_back():
    found = {
        f"{path.relative_to(PROJECT_ROOT)}: {phrase!r}; write {PHRASES[phrase]!r}"
        for path in files()
        for phrase in removed_phrases(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert not found, "\n".join(sorted(found))
