"""The domain of csm-health: signals, scores, warehouse, sources and publishing. Does not depend on Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

__all__ = ["open_published"]


def open_published(config_path: Path | str | None = None) -> duckdb.DuckDBPyConnection:
    """Return a read-only connection to the published copy, in UTC, with the marts on its search path.

    ``config_path`` is a csm.yaml; by default ``$CSM_CONFIG``, ``./csm.yaml`` or the embedded defaults, as for ``csm``.
    The connection keeps the file that it opened: a later run replaces the copy, so open it again to read new days. It
    is not restricted: queries can read files. Raises ConfigError for an invalid configuration, InputError if there is
    no published copy.
    """
    # The modules of this package import it, so they are imported only when they are needed.
    from csm_core.analysts.queries import connect_published
    from csm_core.config import load_config
    from csm_core.warehouse.database import Warehouse

    return connect_published(Warehouse.from_config(load_config(config_path)).published_path)
