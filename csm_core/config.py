"""The configuration: ``csm.yaml`` and the environment become one frozen model.

Errors name the file, the key, the value and what is allowed. Secrets are not configuration: they are read from the
environment where they are needed (``NOTION_TOKEN`` and the like) and never kept here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from csm_core.errors import ConfigError, InputError
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD
from csm_core.sources.settings import AnySource, FilesSettings
from csm_core.system.config_model import Section
from csm_core.system.file_access import group_id
from csm_core.system.paths import checked_path, shown
from csm_core.system.resources import MAX_THREADS, checked_memory
from csm_core.system.yaml_values import parse_yaml
from csm_core.thresholds import Thresholds

CONFIG_VARIABLE = "CSM_CONFIG"
ENVIRONMENT_PREFIX = "CSM_"
DEFAULT_FILE = "csm.yaml"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
_Part = TypeVar("_Part", bound=Section)
_UMASK = re.compile(r"0?0[0-7]{2}\Z")
_RESERVED_VARIABLES = {CONFIG_VARIABLE, "CSM_LOG_FORMAT"}


_SYSTEMS: dict[str, type[BaseModel]] = {
    str(typing.get_args(model.model_fields["system"].annotation)[0]): model
    for model in typing.get_args(typing.get_args(AnySource)[0])
}


class Policy(Section, frozen=True):
    """Thresholds for a tenant and a segment from a date on; ``None`` matches any. Rules: scoring.md, "Policy"."""

    tenant: str | None = None
    segment: str | None = None
    from_date: date | None = Field(default=None, alias="from")
    green_threshold: float = Field(default=DEFAULT_GREEN_THRESHOLD, ge=0, le=100)
    amber_threshold: float = Field(default=DEFAULT_AMBER_THRESHOLD, ge=0, le=100)
    churn_window_days: int = Field(default=DEFAULT_CHURN_WINDOW_DAYS, ge=0)

    @model_validator(mode="after")
    def _amber_below_green(self) -> Policy:
        try:
            Thresholds(self.green_threshold, self.amber_threshold, self.churn_window_days)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


class SignalSettings(Section, frozen=True):
    """Windows (days), thresholds and lists of the signal definitions; the defaults are those of signals.md."""

    adoption_window_days: int = Field(default=28, ge=1, le=366)
    trend_window_days: int = Field(default=28, ge=1, le=180)
    growing_percent: int = Field(default=110, ge=100, le=1_000_000)
    declining_percent: int = Field(default=90, ge=0, le=100)
    login_event_name: str = "login"
    login_window_days: int = Field(default=90, ge=1, le=366)
    engagement_window_days: int = Field(default=90, ge=1, le=366)
    engagement_high_contacts: int = Field(default=3, ge=1)
    excluded_interaction_kinds: tuple[str, ...] = ("automated", "internal")
    key_contact_roles: tuple[str, ...] = ("executive_sponsor", "champion", "decision_maker")
    active_user_window_days: int = Field(default=28, ge=1, le=366)
    sentiment_window_days: int = Field(default=90, ge=1, le=366)
    escalation_window_days: int = Field(default=90, ge=1, le=366)
    nps_window_days: int = Field(default=180, ge=1, le=731)
    tam_window_days: int = Field(default=90, ge=1, le=366)
    min_term_months: int = Field(default=2, ge=0, le=1200)


class ExpansionSettings(Section, frozen=True):
    """Thresholds of the expansion rules of signals.md, as whole percents."""

    seats_percent: int = Field(default=80, ge=1, le=200)
    seats_medium_percent: int = Field(default=90, ge=1, le=200)
    seats_high_percent: int = Field(default=100, ge=1, le=200)
    peers_percent: int = Field(default=50, ge=0, le=100)
    peers_medium_percent: int = Field(default=65, ge=0, le=100)
    peers_high_percent: int = Field(default=80, ge=0, le=100)
    own_adoption_percent: int = Field(default=60, ge=0, le=100)


class FreshnessSettings(Section, frozen=True):
    """After how many days without a record an entity counts as silent, if it had them regularly; none: never.

    ``usage_events`` are checked by ``max_silent_days``, regular or not.
    """

    subscriptions: int | None = Field(default=90, ge=0)
    invoices: int | None = Field(default=45, ge=0)
    tickets: int | None = Field(default=30, ge=0)
    nps_responses: int | None = Field(default=90, ge=0)
    interactions: int | None = Field(default=30, ge=0)
    tam_assessments: int | None = Field(default=90, ge=0)


class CheckSettings(Section, frozen=True):
    """When publishing is held: thresholds of the blocking checks between marts and Notion."""

    max_mean_score_swing: float = Field(default=10.0, ge=0, le=100)
    max_rag_changed_percent: float = Field(default=25.0, ge=0, le=100)
    max_silent_days: int = Field(default=3, ge=0)
    freshness: FreshnessSettings = FreshnessSettings()
    scalar_sample_rows: int = Field(default=200, ge=1)


class IdentitySettings(Section, frozen=True):
    """How vendors' customers are told to be accounts, beside what their own records say.

    ``account_map`` is a file of system, external_id and account_id; ``account_domains`` one of account_id and domain,
    by which customers are matched that nothing else names. Each may be a folder of such files.
    """

    account_map: Path | None = None
    account_domains: Path | None = None


class NotionPublishing(Section, frozen=True):
    """What publishing to Notion may do beyond notion.md's minimum. Ids and token come from the environment."""

    create_missing_accounts: bool = True


class Config(Section, frozen=True):
    """The effective configuration. Paths are absolute: relative ones are taken from the file's own folder."""

    warehouse: Path = PROJECT_ROOT / "data" / "csm.duckdb"
    timezone: str = "UTC"
    partitions_start: date = date(2026, 1, 1)
    sources: tuple[AnySource, ...] = (FilesSettings(system="files", path=PROJECT_ROOT / "examples" / "acme"),)
    identity: IdentitySettings = IdentitySettings()
    policies: tuple[Policy, ...] = ()
    signals: SignalSettings = SignalSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    checks: CheckSettings = CheckSettings()
    notion: NotionPublishing = NotionPublishing()
    max_rejected_percent: float = Field(default=5.0, ge=0, le=100)
    min_rejected: int = Field(default=20, ge=1)
    max_closed_percent: float = Field(default=20.0, ge=0, le=100)
    late_arrival_days: int = Field(default=3, ge=0, le=366)
    catch_up_days: int = Field(default=31, ge=0, le=366)
    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS)
    log_format: Literal["people", "json"] = "people"
    umask: str | None = None
    group: str | None = None
    dagster_url: str | None = None

    @field_validator("warehouse")
    @classmethod
    def _names_a_file(cls, value: Path) -> Path:
        if value.name in ("", ".."):
            message = "expected the path of a file, such as data/csm.duckdb"
            raise ValueError(message)
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            near = difflib.get_close_matches(value, sorted(available_timezones()), n=1)
            message = f"not a time zone of the IANA list{f'; did you mean {near[0]!r}?' if near else ''}"
            raise ValueError(message) from None
        return value

    @field_validator("memory_limit")
    @classmethod
    def _possible_memory(cls, value: str | None) -> str | None:
        return None if value is None else checked_memory(value)

    @field_validator("umask", mode="before")
    @classmethod
    def _octal_umask(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str) and _UMASK.match(value)):
            message = 'expected three octal digits in quotes, the first of them 0, such as "027"'
            raise ValueError(message)
        return value

    @field_validator("group")
    @classmethod
    def _known_group(cls, value: str | None) -> str | None:
        if value is not None:
            group_id(value)
        return value

    @field_validator("dagster_url")
    @classmethod
    def _address_without_secret(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address, parts = False, None
        # Alerts show it to everybody who reads them.
        if not is_address or parts is None or any(c.isspace() or not c.isprintable() for c in value):
            message = "expected the http(s) address of Dagster's UI, such as https://dagster.example.com"
            raise ValueError(message)
        if parts.username is not None or parts.query or parts.fragment:
            message = "alerts show this address, so it must hold no user, password, query or fragment"
            raise ValueError(message)
        return value

    @field_validator("sources")
    @classmethod
    def _some_source(cls, value: tuple[AnySource, ...]) -> tuple[AnySource, ...]:
        if not value:
            message = "at least one source is needed"
            raise ValueError(message)
        labels = [source.label for source in value]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice:
            message = f"two sources are called {twice!r}: give each a `name` of its own"
            raise ValueError(message)
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the schedules."""
        return ZoneInfo(self.timezone)

    @property
    def config_hash(self) -> str:
        """Twelve hexadecimal digits that change with anything that may change a score: signals and policies."""
        scored = self.model_dump(mode="json", include={"signals", "policies"})
        canonical = json.dumps(scored, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def sql_parameters(self) -> dict[str, Any]:
        """Every named parameter that a SQL model may use, beside the days of the run."""
        parameters: dict[str, Any] = {}
        for section in (self.signals, self.expansion):
            for name, value in section.model_dump().items():
                parameters[name] = list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
        parameters["partitions_start"] = self.partitions_start
        return parameters


def load_config(path: Path | str | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration: ``path``, else ``$CSM_CONFIG``, else ``./csm.yaml``, else the embedded defaults.

    Environment variables ``CSM_<KEY>`` override keys of the file; a double underscore goes one level down
    (``CSM_SIGNALS__LOGIN_WINDOW_DAYS=60``) and values are read as YAML. Raises ConfigError for a file that is missing,
    is no YAML mapping, or holds a key or value that is not allowed.
    """
    environment = os.environ if environment is None else environment
    file = _config_file(path, environment)
    values = _read_yaml(file) if file else {}
    origin = str(file) if file else "the embedded defaults"
    overridden: dict[tuple[str, ...], str] = {}
    for name, raw in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _RESERVED_VARIABLES:
            keys = _override(values, name, raw)
            if keys:
                overridden[keys] = name
    if "CSM_LOG_FORMAT" in environment:
        values["log_format"] = environment["CSM_LOG_FORMAT"]
        overridden["log_format",] = "CSM_LOG_FORMAT"
    base = file.parent if file else Path.cwd()
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin, overridden)) from None
    return _absolute(config, base, origin, (), overridden)


def _absolute(
    section: _Part, base: Path, origin: str, keys: tuple[str, ...], overridden: Mapping[tuple[str, ...], str]
) -> _Part:
    """The section with every relative path in it, however deep, taken from the file's own folder and checked."""
    changed: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        inner = (*keys, name)
        if isinstance(value, Path):
            try:
                changed[name] = checked_path(value, base)
            except ValueError as error:
                line = f"{'.'.join(inner)}: {error} (found {shown(str(value))}{_setter(inner, overridden)})"
                raise ConfigError(_invalid(origin, [line])) from None
        elif isinstance(value, Section):
            changed[name] = _absolute(value, base, origin, inner, overridden)
        elif isinstance(value, tuple):
            items = cast("tuple[Any, ...]", value)
            changed[name] = tuple(
                _absolute(item, base, origin, (*inner, str(place)), overridden) if isinstance(item, Section) else item
                for place, item in enumerate(items)
            )
    return section.model_copy(update=changed)


def _config_file(path: Path | str | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get(CONFIG_VARIABLE)
    if not named:
        default = Path.cwd() / DEFAULT_FILE
        return default if default.is_file() else None
    try:
        file = checked_path(named)
    except ValueError as error:
        option = "--config" if path else CONFIG_VARIABLE
        message = f"{option}: {error} (found {shown(str(named))}). Name a csm.yaml."
        raise ConfigError(message) from None
    if not file.is_file():
        message = f"configuration file not found: {file}. Give another with --config, or unset {CONFIG_VARIABLE}."
        raise ConfigError(message)
    return file


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        message = f"{file}: cannot be read as YAML: {error}"
        raise ConfigError(message) from None
    loaded = parse_yaml(text, str(file))
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        message = f"{file}: expected keys and values at the top level, found a {type(loaded).__name__}"
        raise ConfigError(message)
    values = cast("dict[Any, Any]", loaded)
    unnamed = next((key for key in values if not isinstance(key, str)), None)
    if unnamed is not None:
        message = f"{file}: the key {shown(unnamed)} is not text; keys of the configuration are names"
        raise ConfigError(message)
    return cast("dict[str, Any]", values)


def _override(values: dict[str, Any], variable: str, raw: str) -> tuple[str, ...] | None:
    """Set the key that ``variable`` names; its keys, or None for a variable that names no key."""
    keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if keys[0] not in Config.model_fields:
        return None
    target = values
    for key in keys[:-1]:
        nested = target.setdefault(key, {})
        if not isinstance(nested, dict):
            message = f"{variable}: {key} is not a section that can be overridden key by key"
            raise ConfigError(message)
        target = cast("dict[str, Any]", nested)
    target[keys[-1]] = parse_yaml(raw, variable)
    return tuple(keys)


def _explain(error: ValidationError, origin: str, overridden: Mapping[tuple[str, ...], str]) -> str:
    lines: list[str] = []
    for problem in error.errors():
        location, section = _located(problem["loc"])
        key = ".".join(str(part) for part in location) or "(top level)"
        if problem["type"] == "union_tag_invalid":
            lines.append(_unknown_system(key, str(problem.get("ctx", {}).get("tag"))))
        elif problem["type"] == "union_tag_not_found":
            lines.append(f"{key}: `system` is missing; known systems: {', '.join(_SYSTEMS)}")
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(section, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            lines.append(f"unknown key {key!r}; {hint}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            found = _found(problem["input"]) + _setter(tuple(map(str, location)), overridden)
            lines.append(f"{key}: {reason} (found {found})")
    return _invalid(origin, lines)


def _invalid(origin: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{origin}: the configuration is not valid", *(f"  {line}" for line in lines)])


def _found(value: object) -> str:
    """A value for a message; an address without user and password."""
    return shown(re.sub(r"//[^/@]*@", "//(hidden)@", value) if isinstance(value, str) else value)


def _setter(keys: tuple[str, ...], overridden: Mapping[tuple[str, ...], str]) -> str:
    """Which variable set a key, if one did: a message that names only the file would mislead."""
    name = next((name for prefix, name in overridden.items() if keys[: len(prefix)] == prefix), None)
    return f", set by {name}" if name else ""


def _located(location: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """The location as the file has it (pydantic adds the system to that of a source), and where its keys begin."""
    if len(location) > 2 and location[0] == "sources" and location[2] in _SYSTEMS:
        return (*location[:2], *location[3:]), _SYSTEMS[str(location[2])]
    return location, Config


def _unknown_system(key: str, system: str) -> str:
    near = difflib.get_close_matches(system, _SYSTEMS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known systems: {', '.join(_SYSTEMS)}"
    return f"{key}.system: unknown system {system!r}; {hint}"


def _known_keys(section: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            nested = _section_of(section.model_fields[part].annotation)
            if nested is None:
                break
            section = nested
    return sorted(field.alias or name for name, field in section.model_fields.items())


def _section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for argument in typing.get_args(annotation):
        found = _section_of(argument)
        if found is not None:
            return found
    return None
