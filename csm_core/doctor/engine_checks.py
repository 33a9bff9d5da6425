"""Checks the engine of a configuration: its packages, the translation of the models, and its session."""

from __future__ import annotations

from csm_core.config import Config
from csm_core.doctor.sample_problems import ERROR, Problem
from csm_core.errors import CSMError
from csm_core.scoring.translation import require_spark
from csm_core.warehouse.engine import SPARK


def engine_check(config: Config) -> tuple[int, str, tuple[Problem, ...]] | None:
    """Return status, message and problems of the engine; None for DuckDB, which needs no check.

    Starts a session, and writes and deletes a small directory at the location.
    """
    if config.engine.kind != SPARK:
        return None
    try:
        messages = require_spark(config.engine.master)
        if messages:
            problems = tuple(Problem(ERROR, "model", message) for message in messages)
            return 2, f"{len(messages)} models cannot be translated", problems
        from csm_core.warehouse.spark_session import spark_session

        session = spark_session(config.engine.remote, config.engine.master, str(config.engine.location))
        version = session.examine()
    except CSMError as error:
        return error.exit_status, str(error), ()
    return 0, f"Spark {version} at {config.engine.remote or config.engine.master}, tables at {session.location}", ()
