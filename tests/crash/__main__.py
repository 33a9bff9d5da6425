"""Kill runs at random instants, run again, compare with undisturbed runs: ``python -m tests.crash --times 100``."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.crash.kills import COMMANDS, strike


def main() -> int:
    """The script; exit status 1 for any difference or leftover."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill runs, run again, compare.")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=COMMANDS, action="append", help="only runs of this kind")
    parser.add_argument("--folder", type=Path, help="keep everything here; default: a temporary folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="csm_crash_") as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        struck = strike(folder, chosen.times, seed=chosen.seed, jobs=chosen.jobs, names=chosen.only or COMMANDS)
    print(struck.text())
    return 1 if struck.differences or struck.leftovers else 0


if __name__ == "__main__":
    sys.exit(main())
