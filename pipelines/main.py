"""The console script: the command line with functions that import Dagster when they are called."""

from typing import TYPE_CHECKING, Any

from csm_core import cli

if TYPE_CHECKING:
    from csm_core.days.replay import Replay
    from csm_core.operations.run_outcome import RunOutcome


def main() -> None:
    """Entry point of ``csm``."""
    cli.main(_run_days, _open_ui, _replay_day)


def _run_days(*args: Any, **kwargs: Any) -> "RunOutcome":
    from pipelines.run import run_days

    return run_days(*args, **kwargs)


def _replay_day(*args: Any, **kwargs: Any) -> "Replay":
    from pipelines.replay import replay_day

    return replay_day(*args, **kwargs)


def _open_ui(*args: Any, **kwargs: Any) -> None:
    from pipelines.ui_processes import open_ui

    open_ui(*args, **kwargs)


if __name__ == "__main__":
    main()
