"""The section ``engine`` of the configuration."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator, model_validator

from csm_core.system.config_model import ConfigModel


class EngineConfig(ConfigModel, frozen=True):
    """The engine that builds the models: DuckDB, or Spark on a server (``remote``) or in this process (``master``).

    ``location`` is where Spark keeps the tables that it builds: a folder, or an address such as ``s3a://…``.
    """

    kind: Literal["duckdb", "spark"] = "duckdb"
    remote: str | None = None
    master: str | None = None
    location: str | None = None

    @field_validator("remote")
    @classmethod
    def _is_spark_connect(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith("sc://") or any(c.isspace() for c in value)):
            message = "expected the address of a Spark Connect server, such as sc://spark.example:15002"
            raise ValueError(message)
        if value is not None and "token=" in value:
            message = (
                "the address contains a token. Set the token in the environment variable CSM_SPARK_TOKEN instead, "
                "so that it is never stored or logged"
            )
            raise ValueError(message)
        return value

    @field_validator("location")
    @classmethod
    def _is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*:/", value)):
            message = "expected an absolute folder or an address, such as /data/csm or s3a://warehouse/csm"
            raise ValueError(message)
        return value

    @field_validator("master")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"local(\[(\*|[1-9][0-9]*)\])?", value):
            message = "expected local, local[N] or local[*]. For a cluster, start a Spark Connect server and set remote"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _complete(self) -> EngineConfig:
        given = [name for name in ("remote", "master", "location") if getattr(self, name) is not None]
        if self.kind == "duckdb" and given:
            message = f"{given[0]} is a setting of Spark, but kind is duckdb. Set kind: spark, or remove {given[0]}"
            raise ValueError(message)
        if self.kind == "spark" and (self.remote is None) == (self.master is None):
            message = "set either remote, the address of a Spark Connect server, or master, such as local[2]"
            raise ValueError(message)
        if self.kind == "spark" and not self.location:
            message = "location is required: the folder of the tables that Spark builds, such as s3a://warehouse/csm"
            raise ValueError(message)
        return self
