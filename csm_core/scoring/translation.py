"""Checks, before a run, that Spark is installed and that every model can be translated for it."""

from __future__ import annotations

from csm_core.scoring.score_days import scores_sql
from csm_core.scoring.sql import TEXT
from csm_core.warehouse.models import load_models
from csm_core.warehouse.spark_packages import require_packages

LAYERS = ("intermediate", "marts")


def require_spark(master: str | None) -> list[str]:
    """Return a message for each model, with its file, line and construct, that cannot be translated to Spark SQL.

    Raises ConfigError if the packages of Spark are not installed; ``master`` is set for a session in this process.
    """
    require_packages(is_local=master is not None)
    # Imported here, since it needs one of these packages.
    from csm_core.warehouse.spark_sql import untranslatable

    models = [model for layer in LAYERS for model in load_models(layer).values()]
    return untranslatable((model, model.sql or scores_sql(TEXT)) for model in models)
