"""The section ``published`` of the configuration: what is written with the published copy."""

from __future__ import annotations

from csm_core.system.config_model import ConfigModel


class PublishedSettings(ConfigModel, frozen=True):
    """Options of the published copy. ``parquet``: also write the marts as Parquet, a file for each day."""

    parquet: bool = False
