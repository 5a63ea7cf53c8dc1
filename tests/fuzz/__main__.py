"""Put 200 damaged inputs through the command line: ``python -m tests.fuzz``.

Images, tables, checkpoints, snapshots and JSON are damaged, the same for the same number. A command
must end by itself with 0, 1 or 2, print no traceback, and never a wrong number.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from .trials import Hang, Trials


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    arguments = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder))
        for number in range(arguments.first, arguments.first + arguments.count):
            try:
                print(number, trials.run(number), flush=True)
            except (Exception, Hang):
                failed += 1
                print(number, "FAILED", traceback.format_exc(), sep="\n", flush=True)
    print(f"{arguments.count - failed} of {arguments.count} damaged inputs were handled")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
