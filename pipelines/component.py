"""``CsmHealthComponent``: csm-health in a Dagster project, one ``defs.yaml`` for each instance (docs/dagster.md)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import dagster as dg
from pydantic import BaseModel, Field

from assets.context import Pipeline
from assets.names import OWNERS, Names
from csm_core import logging
from csm_core.config import Config, load_config
from csm_core.errors import ConfigError
from csm_core.system.environment import prefixed_environment
from csm_core.warehouse.database import Warehouse
from pipelines.build import named_defs

_WORD = r"[A-Za-z][A-Za-z0-9_]*"
_CONFIGURATION = """\
# The configuration of this instance of csm-health. Paths are relative to this file.
warehouse: {data}/csm.duckdb
timezone: UTC                     # for schedules; partitions are always UTC days
partitions_start: 2026-01-01

sources:                          # one entry for each source system
  - system: files
    path: {records}
"""


class ScaffoldParams(BaseModel):
    """The options of ``dg scaffold defs``."""

    config_path: str | None = Field(None, description="The csm.yaml of the instance; by default, a new one is written.")
    key_prefix: str | None = Field(None, description="The prefix of asset keys; by default, the name of the folder.")


class CsmHealthScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes ``defs.yaml``, and a ``csm.yaml`` beside it unless another one is named."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return the options."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the files."""
        folder = request.target_path
        prefix = request.params.key_prefix or re.sub(r"\W", "_", folder.name)
        path = request.params.config_path
        if path is None:
            path = "csm.yaml"
            data = Path(os.path.relpath(request.project_root or folder, folder)) / "data" / prefix
            if not (folder / path).exists():
                text = _CONFIGURATION.format(data=data.as_posix(), records=(data / "records").as_posix())
                (folder / path).write_text(text, encoding="utf-8")
        attributes = {
            "config_path": path,
            "key_prefix": prefix,
            "group_prefix": prefix,
            "owners": list(OWNERS),
            "schedules": False,
        }
        dg.scaffold_component(request, attributes)


def _resolved(context: dg.ResolutionContext, path: str) -> Path:
    return context.resolve_source_relative_path(context.resolve_value(path, as_type=str))


@dg.scaffold_with(CsmHealthScaffolder)
class CsmHealthComponent(dg.Component, dg.Model, dg.Resolvable):
    """The health pipeline of one company: assets, checks, jobs, schedules and sensors, with prefixes.

    Several instances share a project if their key prefixes and warehouses are different.
    """

    config_path: Annotated[
        Path,
        dg.Resolver(
            _resolved,
            model_field_type=str,
            description="The csm.yaml of the instance, relative to the folder of defs.yaml.",
            examples=["csm.yaml"],
        ),
    ]
    key_prefix: Annotated[
        str | list[str] | None,
        dg.Resolver.default(
            description="The first parts of each asset key. Jobs, schedules, sensors, resources and pools begin with "
            "it as well.",
            examples=["acme", ["customers", "acme"]],
        ),
    ] = None
    group_prefix: Annotated[
        str | None,
        dg.Resolver.default(
            description="The beginning of each asset group; by default, the key prefix.", examples=["acme"]
        ),
    ] = None
    owners: Annotated[
        list[str] | None,
        dg.Resolver.default(
            description="The owners of all assets: e-mail addresses, or team:NAME.", examples=[list(OWNERS)]
        ),
    ] = None
    schedules: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether the schedules and the sensor of late files are enabled until a user changes them."
        ),
    ] = False
    environment_prefix: Annotated[
        str,
        dg.Resolver.default(
            description="The prefix of the instance's environment variables, such as ACME_ for ACME_NOTION_TOKEN. "
            "Variables CSM_…, NOTION_…, HUBSPOT_WRITE_… and SALESFORCE_… without it do not apply to the instance.",
            examples=["ACME_"],
        ),
    ] = ""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions. Raises ConfigError for an invalid prefix or configuration, or a shared warehouse."""
        names = self._names()
        environment = self._environment()
        config = self._config(environment)
        for other in context.component_tree.get_all_components(of_type=CsmHealthComponent):
            if other is not self and other._config(other._environment()).warehouse == config.warehouse:
                message = (
                    f"{self.config_path} and {other.config_path} have the same warehouse, {config.warehouse}. Set "
                    "`warehouse` of one of them to another file: instances do not share a warehouse."
                )
                raise ConfigError(message)
        logging.configure(config.log_format)
        pipeline = Pipeline(config, Warehouse.from_config(config), environment=environment)
        return named_defs(pipeline, names, running=self.schedules, restrict=True)

    def _environment(self) -> Mapping[str, str]:
        return prefixed_environment(self.environment_prefix, os.environ)

    def _names(self) -> Names:
        prefix = [self.key_prefix] if isinstance(self.key_prefix, str) else self.key_prefix or []
        for option, word in [*(("key_prefix", part) for part in prefix), ("group_prefix", self.group_prefix)]:
            if word and not re.fullmatch(_WORD, word):
                message = (
                    f"{option}: {word!r} is not valid. Use letters, digits and underscores, beginning with a letter."
                )
                raise ConfigError(message)
        group = "_".join(prefix) if self.group_prefix is None else self.group_prefix
        return Names(tuple(prefix), group, OWNERS if self.owners is None else tuple(self.owners))

    def _config(self, environment: Mapping[str, str]) -> Config:
        if not self.config_path.is_file():
            message = (
                f"config_path: there is no file {self.config_path}. Set it to a csm.yaml, relative to the folder of "
                "defs.yaml."
            )
            raise ConfigError(message)
        return load_config(self.config_path, environment)
