"""Parses the YAML of a configuration. Errors name the position and the key. Dates stay text, for the model to parse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import yaml
from yaml.composer import ComposerError

from csm_core.errors import ConfigError
from csm_core.system.paths import shown

_Path = tuple[str, ...]
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
# The limit of nodes, aliases included.
_MAX_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """YAML's safe types without dates: the configuration models parse dates, with the key in the error."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_constructor(_TIMESTAMP, _Loader.construct_yaml_str)


def parse_yaml(text: str, origin: str) -> Any:
    """Return the value of a YAML text; None for an empty text.

    Raises ConfigError, which names ``origin``, line and column, for text that is not YAML, a value that does not parse
    as its type (with its key), a key that appears twice, too many aliases, and too many levels of
    nesting.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _require_values(loader, node, origin)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"{_place(origin, mark)}: cannot be read as YAML: {error.problem or error.context}"
        raise ConfigError(message) from None
    except yaml.YAMLError as error:
        message = f"{origin}: cannot be read as YAML: {str(error).splitlines()[0]}"
        raise ConfigError(message) from None
    except RecursionError:
        message = f"{origin}: cannot be read as YAML: lists and mappings are nested too deeply. Remove some levels."
        raise ConfigError(message) from None


def _require_values(loader: _Loader, root: yaml.Node, origin: str) -> None:
    """Raise ConfigError for a value that does not match its type, such as ``!!int abc``."""
    count = 0
    for node, path in _nodes(root):
        count += 1
        if count > _MAX_NODES:
            message = f"{origin}: the values have more than {_MAX_NODES:,} parts, aliases included. Remove aliases."
            raise ConfigError(message)
        if isinstance(node, yaml.MappingNode):
            _require_distinct_keys(node, path, origin)
        if not isinstance(node, yaml.ScalarNode):
            continue
        try:
            loader.construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            message = (
                f"{_place(origin, node.start_mark)}: {'.'.join(path) or '(top level)'}: {shown(node.value)} is not a "
                f"valid {kind}. Correct the value, or put it in quotes to make it text."
            )
            raise ConfigError(message) from None


def _require_distinct_keys(mapping: yaml.MappingNode, path: _Path, origin: str) -> None:
    """Raise ConfigError for a key that appears twice: YAML would keep the last value and drop the others silently."""
    seen: dict[str, Any] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in seen:
            name = ".".join((*path, str(key.value)))
            message = (
                f"{_place(origin, key.start_mark)}: {shown(name)} appears twice, first in line "
                f"{seen[key.value].line + 1}. Remove one of them."
            )
            raise ConfigError(message)
        seen[key.value] = key.start_mark


def _nodes(root: yaml.Node) -> Iterator[tuple[yaml.Node, _Path]]:
    """Yield every node with its path of keys; a node with aliases once for each alias."""
    waiting: list[tuple[yaml.Node, _Path, frozenset[int]]] = [(root, (), frozenset())]
    while waiting:
        node, path, above = waiting.pop()
        yield node, path
        if id(node) in above:
            message = "an alias refers to a value that contains it"
            raise ComposerError(None, None, message, node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            inner = above | {id(node)}
            waiting += [(item, (*path, str(place)), inner) for place, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            inner = above | {id(node)}
            for key, value in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                waiting += [(key, path, inner), (value, (*path, name), inner)]


def _place(origin: str, mark: Any) -> str:
    return f"{origin}, line {mark.line + 1}, column {mark.column + 1}" if mark else origin
