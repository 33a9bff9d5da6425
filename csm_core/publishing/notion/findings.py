"""The problems of a database that ``csm notion doctor`` reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csm_core.publishing.notion.databases import DatabaseSpec, Property, same_id
from csm_core.publishing.notion.retry import RequestRejected
from csm_core.system.text_table import counted

MAX_SELECT_OPTIONS = 100

Object = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """A problem of a database: ``setting`` names the database, ``problem`` is a code, ``message`` is for users.

    Problems: ``not_configured``, ``no_access``, ``in_trash``, ``several_data_sources``, ``missing_property``,
    ``wrong_type``, ``missing_option``, ``options_full``, ``template``.
    """

    setting: str
    database: str
    problem: str
    property: str | None
    message: str
    blocking: bool = True

    def as_dict(self) -> Object:
        """The JSON object of this finding."""
        return {
            "setting": self.setting,
            "database": self.database,
            "problem": self.problem,
            "property": self.property,
            "message": self.message,
            "blocking": self.blocking,
        }


def wrong_type(wanted: Property, present: Object, accounts_source: str = "") -> str:
    """What is wrong with the type of a property; empty if it is right."""
    if present["type"] != wanted.type:
        return f"is {present['type']}, expected {wanted.type}"
    target = present["relation"].get("data_source_id", "") if wanted.type == "relation" else ""
    if accounts_source and target and not same_id(target, accounts_source):
        return f"is a relation to the data source {target}, expected {accounts_source}, the accounts"
    return ""


def choose_source(spec: DatabaseSpec, database: Object, chosen: str | None) -> tuple[str | None, list[Finding]]:
    """The data source to use, or the problem that none can be chosen."""
    sources = database["data_sources"]
    if chosen is not None:
        bare = chosen.replace("-", "").lower()
        for source in sources:
            if source["id"].replace("-", "") == bare:
                return source["id"], []
        message = (
            f"{spec.data_source_setting} is {chosen}, which is not a data source of {spec.title}: {listed(sources)}"
        )
        return None, [new_finding(spec, "several_data_sources", message)]
    if len(sources) == 1:
        return sources[0]["id"], []
    message = (
        f"{spec.title} has {len(sources)} data sources: {listed(sources)}. Choose one: {spec.data_source_setting}=ID"
    )
    return None, [new_finding(spec, "several_data_sources", message)]


def examine_property(
    spec: DatabaseSpec, wanted: Property, present: Mapping[str, Object], accounts_source: str
) -> list[Finding]:
    """The problems of one property; ``present`` are the properties of the data source."""
    if wanted.type == "title":
        return []
    config = present.get(wanted.name)
    # Publishing leaves out a property with a switch.
    blocking = not wanted.switch
    goes_on = "" if blocking else f" Publishing continues without it; notion.account_properties.{wanted.switch}"
    if config is None:
        add = "Run csm notion init, or add it." if blocking else "Run csm notion init to add it."
        off = f"{goes_on}: false switches it off." if goes_on else ""
        message = f"{spec.title} has no property {wanted.name} ({wanted.type}). {add}{off}"
        return [new_finding(spec, "missing_property", message, wanted.name, blocking=blocking)]
    problem = wrong_type(wanted, config, accounts_source)
    if problem:
        repair = "Change its type in Notion."
        if goes_on:
            repair = f"Rename it in Notion, and run csm notion init.{goes_on}: false switches it off."
        message = f"{wanted.name} of {spec.title} {problem}. {repair}"
        return [new_finding(spec, "wrong_type", message, wanted.name, blocking=blocking)]
    return _examine_options(spec, wanted, config) if wanted.type == "select" else []


def _examine_options(spec: DatabaseSpec, wanted: Property, config: Object) -> list[Finding]:
    options = config["select"]["options"]
    names = {option["name"] for option in options}
    missing = [name for name, _ in wanted.options if name not in names]
    if not missing:
        return []
    names_missing = ", ".join(missing)
    if len(options) + len(missing) > MAX_SELECT_OPTIONS:
        message = (
            f"{wanted.name} of {spec.title} has {counted(len(options), 'option')}, so {names_missing} cannot be added. "
            f"Notion allows {MAX_SELECT_OPTIONS}: remove options that no page uses."
        )
        return [new_finding(spec, "options_full", message, wanted.name)]
    message = f"{wanted.name} of {spec.title} lacks the options {names_missing}. Publishing adds them when needed."
    return [new_finding(spec, "missing_option", message, wanted.name, blocking=False)]


def no_access(spec: DatabaseSpec, database_id: str, problem: RequestRejected) -> Finding:
    """The problem that a database cannot be read, with what to do."""
    if problem.status == 401:
        advice = "Notion rejected the token. Set NOTION_TOKEN to the integration's secret."
    elif problem.status == 404:
        advice = (
            f"The integration cannot see a database {database_id}. Correct {spec.setting}, or share the database "
            "with the integration (··· → Connections)."
        )
    elif problem.status == 403:
        advice = "The integration lacks the capability to read content. Enable it in the integration's settings."
    else:
        advice = f"{spec.setting} is not a database id."
    return new_finding(spec, "no_access", f"{spec.title}: {advice} {problem}")


def new_finding(
    spec: DatabaseSpec, problem: str, message: str, name: str | None = None, *, blocking: bool = True
) -> Finding:
    """A problem of a database."""
    return Finding(spec.setting, spec.title, problem, name, message, blocking)


def listed(sources: list[Object]) -> str:
    """Data sources with their ids, as text."""
    return ", ".join(f"{source['name']} ({source['id']})" for source in sources) or "none"
