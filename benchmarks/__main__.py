"""``python -m benchmarks [--rows N] [--json FILE]``: benchmarks in one process, as a table and as JSON."""

import argparse
import importlib
from pathlib import Path

from benchmarks.measure import table, write_json

SHORT = ("scoring", "questions", "loading", "api", "starting", "receipts", "backtest")
# Whole runs on long histories; preparing the data takes several minutes.
LONG = ("daily", "backfill", "range", "year", "memory", "many_files", "history", "spark", "dbt")


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows or events (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("build") / "benchmarks.json", help="where to write JSON")
    parser.add_argument("--days", type=int, help="history only: the days that are run one by one (default: 60)")
    parser.add_argument("--before", help="history only: the revision to compare with (default: the one before history)")
    parser.add_argument(
        "names", nargs="*", help=f"benchmarks to run; default: {', '.join(SHORT)}; also: {', '.join(LONG)}"
    )
    options = parser.parse_args()
    of_history = {key: value for key in ("before", "days") if (value := getattr(options, key)) is not None}
    measures = [
        measure
        for name in options.names or SHORT
        for measure in importlib.import_module(f"benchmarks.{name}").run(
            options.rows, **(of_history if name == "history" else {})
        )
    ]
    print(table(measures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(measures, options.json)
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
