"""The console script: the command line of the domain with a runner that knows Dagster, loaded when it is needed."""

from typing import Any

from csm_core import cli


def main() -> None:
    """Entry point of ``csm``."""
    cli.main(_run_days, _open_ui)


def _run_days(*args: Any, **kwargs: Any) -> cli.Outcome:
    from pipelines.run import run_days

    return run_days(*args, **kwargs)


def _open_ui(*args: Any, **kwargs: Any) -> None:
    from pipelines.ui_processes import open_ui

    open_ui(*args, **kwargs)


if __name__ == "__main__":
    main()
