"""The console script: the command line of the domain with a runner that knows Dagster, loaded when it is needed."""

from typing import Any

from csm_core import cli


def main() -> None:
    """Entry point of ``csm``."""
    cli.main(_run_days)


def _run_days(*args: Any, **kwargs: Any) -> cli.Outcome:
    from pipelines.run import run_days

    return run_days(*args, **kwargs)


if __name__ == "__main__":
    main()
