"""The packages that Spark needs, which are not installed by default."""

from __future__ import annotations

from importlib.util import find_spec

from csm_core.errors import ConfigError


def require_packages(*, is_local: bool) -> None:
    """Raise ConfigError, with the command that installs them, if the packages of Spark are not installed."""
    extra, needed = ("spark-local", ("py4j",)) if is_local else ("spark", ())
    missing = [name for name in ("pyspark", "grpc", "pyarrow", "sqlglot", *needed) if find_spec(name) is None]
    if missing:
        message = (
            f"engine: kind: spark needs packages that are not installed: {', '.join(missing)}. Install them: "
            f"pip install 'csm-health[{extra}]'"
        )
        raise ConfigError(message)
