"""The environment variables of one instance of the pipeline, where several share a process."""

from __future__ import annotations

from collections.abc import Mapping

# Variables of this project's settings, and of the places that it writes to: without the prefix, they would apply to
# every instance.
_SHARED = ("CSM_", "NOTION_", "HUBSPOT_WRITE_", "SALESFORCE_")


def prefixed_environment(prefix: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment of the instance with a prefix, such as ``ACME_``; without a prefix, all variables.

    A variable with the prefix is the variable without it: ``ACME_NOTION_TOKEN`` is the ``NOTION_TOKEN`` of the
    instance. ``CSM_…``, ``NOTION_…``, ``HUBSPOT_WRITE_…`` and ``SALESFORCE_…`` without the prefix are left out, so that
    no instance uses those of another.
    """
    if not prefix:
        return environment
    others = {name: value for name, value in environment.items() if not name.startswith(_SHARED)}
    own = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
    return others | own
