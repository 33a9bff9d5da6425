"""Loads the configuration from ``csm.yaml`` and the environment into one frozen model.

Errors name the file, the key, the value and the allowed values. Secrets are not part of the configuration: each module
reads them from the environment (``NOTION_TOKEN`` and so on). The models are in ``csm_core.config_models`` and are
re-exported here.
"""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from csm_core.config_models import (
    PROJECT_ROOT,
    Config,
    ExpansionSettings,
    NotionPublishing,
    Policy,
    ReviewSettings,
    RoiMetric,
    SignalSettings,
)
from csm_core.errors import ConfigError
from csm_core.sources.settings import AnySource
from csm_core.system.config_model import ConfigModel
from csm_core.system.config_sections import CheckSettings, FreshnessSettings, IdentitySettings
from csm_core.system.crm_section import DESTINATIONS
from csm_core.system.paths import checked_path, shown
from csm_core.system.yaml_values import parse_yaml

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "ENVIRONMENT_PREFIX",
    "PROJECT_ROOT",
    "CheckSettings",
    "Config",
    "ExpansionSettings",
    "FreshnessSettings",
    "IdentitySettings",
    "NotionPublishing",
    "Policy",
    "ReviewSettings",
    "RoiMetric",
    "SignalSettings",
    "load_config",
]

CONFIG_VARIABLE = "CSM_CONFIG"
ENVIRONMENT_PREFIX = "CSM_"
DEFAULT_FILE = "csm.yaml"
_Part = TypeVar("_Part", bound=ConfigModel)
# A parameter of an address, such as ";token=…" or "?api_key=…".
_SECRET_PARAMETER = re.compile(r"(?i)([\w-]*(?:token|secret|password|passwd|credential|api_?key)[\w-]*)=[^;&\s]+")
_RESERVED_VARIABLES = {CONFIG_VARIABLE, "CSM_LOG_FORMAT"}
_SYSTEMS: dict[str, type[BaseModel]] = {
    str(typing.get_args(model.model_fields["system"].annotation)[0]): model
    for model in typing.get_args(typing.get_args(AnySource)[0])
}
# The lists whose entries have a model for each value of one key.
_TAGGED: dict[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "sources": ("system", _SYSTEMS),
    "publish": ("to", DESTINATIONS),
}


def load_config(path: Path | str | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Load the configuration from ``path``, ``$CSM_CONFIG``, ``./csm.yaml`` or the embedded defaults, in this order.

    Environment variables ``CSM_<KEY>`` override keys of the file. A double underscore separates levels
    (``CSM_SIGNALS__LOGIN_WINDOW_DAYS=60``); values are YAML. Raises ConfigError if the file is missing, is not a YAML
    mapping, or has an invalid key or value.
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
    """The section with all relative paths resolved against the folder of the file and checked."""
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
        elif isinstance(value, ConfigModel):
            changed[name] = _absolute(value, base, origin, inner, overridden)
        elif isinstance(value, tuple):
            items = cast("tuple[Any, ...]", value)
            changed[name] = tuple(
                _absolute(item, base, origin, (*inner, str(place)), overridden)
                if isinstance(item, ConfigModel)
                else item
                for place, item in enumerate(items)
            )
    return section.model_copy(update=changed)


def configuration_file(path: Path | str | None = None) -> Path | None:
    """The absolute path of the file that ``load_config`` reads; None if it uses the embedded defaults."""
    return _config_file(path, os.environ)


def _config_file(path: Path | str | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get(CONFIG_VARIABLE)
    if not named:
        default = Path.cwd() / DEFAULT_FILE
        return default if default.is_file() else None
    try:
        file = checked_path(named)
    except ValueError as error:
        option = "--config" if path else CONFIG_VARIABLE
        message = f"{option}: {error} (found {shown(str(named))}). Set it to a csm.yaml."
        raise ConfigError(message) from None
    if not file.is_file():
        message = (
            f"configuration file not found: {file}. Choose another file with --config, or unset {CONFIG_VARIABLE}."
        )
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
        message = f"{file}: the key {shown(unnamed)} is not text; configuration keys must be names"
        raise ConfigError(message)
    return cast("dict[str, Any]", values)


def _override(values: dict[str, Any], variable: str, raw: str) -> tuple[str, ...] | None:
    """Set the key that ``variable`` overrides; returns its path, or None if the variable is not a key."""
    keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if keys[0] not in Config.model_fields:
        return None
    target = values
    for key in keys[:-1]:
        nested = target.setdefault(key, {})
        if not isinstance(nested, dict):
            message = f"{variable}: {key} is not a section, so its keys cannot be overridden"
            raise ConfigError(message)
        target = cast("dict[str, Any]", nested)
    target[keys[-1]] = parse_yaml(raw, variable)
    return tuple(keys)


def _explain(error: ValidationError, origin: str, overridden: Mapping[tuple[str, ...], str]) -> str:
    lines: list[str] = []
    for problem in error.errors():
        location, section = _located(problem["loc"])
        key = ".".join(str(part) for part in location) or "(top level)"
        if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            lines.append(_unknown_tag(key, location, problem.get("ctx", {}).get("tag")))
        elif problem["type"] == "extra_forbidden":
            allowed = _known_keys(section, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(allowed)}"
            lines.append(f"unknown key {key!r}; {hint}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            # A user may write an address or a key where the name of its variable belongs.
            hides = str(location[-1] if location else "").endswith(("_env", "_variable"))
            found = "(hidden)" if hides else _found(problem["input"])
            found += _setter(tuple(map(str, location)), overridden)
            lines.append(f"{key}: {reason} (found {found})")
    return _invalid(origin, lines)


def _invalid(origin: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{origin}: the configuration is not valid", *(f"  {line}" for line in lines)])


def _found(value: object) -> str:
    """A value for a message; user, password and secret parameters of an address are hidden."""
    if isinstance(value, str):
        value = _SECRET_PARAMETER.sub(r"\1=(hidden)", re.sub(r"//[^/@]*@", "//(hidden)@", value))
    return shown(value)


def _setter(keys: tuple[str, ...], overridden: Mapping[tuple[str, ...], str]) -> str:
    """The variable that set a key, for the message; empty if the file set it."""
    name = next((name for prefix, name in overridden.items() if keys[: len(prefix)] == prefix), None)
    return f", set by {name}" if name else ""


def _located(location: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """The location in the file, without the tag that pydantic adds to entries of a list, and the model of its keys."""
    models = _TAGGED.get(str(location[0]) if location else "", ("", {}))[1]
    if len(location) > 2 and location[2] in models:
        return (*location[:2], *location[3:]), models[str(location[2])]
    return location, Config


def _unknown_tag(key: str, location: tuple[int | str, ...], tag: object) -> str:
    """The message for an entry of a list without its `system` or `to`, or with an unknown one."""
    name, models = _TAGGED[str(location[0])]
    known = f"known {'systems' if name == 'system' else 'destinations'}: {', '.join(models)}"
    if tag is None:
        return f"{key}: `{name}` is missing; {known}"
    near = difflib.get_close_matches(str(tag), models, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else known
    return f"{key}.{name}: unknown {'system' if name == 'system' else 'destination'} {str(tag)!r}; {hint}"


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
        section = _section_of(argument)
        if section is not None:
            return section
    return None
