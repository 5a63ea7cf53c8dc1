"""Print how far the package is from the published code: ``python -m tests.parity``."""

import argparse
import sys
from collections.abc import Sequence

from .comparisons import all_rows
from .kit import COMMITTED, FILES, Kit
from .rows import CODES, as_line, as_markdown, header


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a row does not agree or an array was not compared."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument(
        "--kit", default=COMMITTED, help="folder of the published numbers (default: the committed)"
    )
    parser.add_argument("--markdown", action="store_true", help="the table of docs/parity.md")
    arguments = parser.parse_args(argv)
    kit = Kit(arguments.kit)
    failed = total = 0
    print(header(arguments.markdown), flush=True)
    for row in all_rows(kit):
        print((as_markdown if arguments.markdown else as_line)(row), flush=True)
        failed, total = failed + (not row.agrees), total + 1
    left = kit.left()
    print(*(f"{name} is {where}." for name, where in CODES.items()), sep="\n", file=sys.stderr)
    print(
        f"{total - failed} of {total} quantities agree. "
        f"Arrays of {len(FILES)} files that were not compared: {', '.join(left) or 'none'}.",
        file=sys.stderr,
    )
    return int(bool(failed or left))


if __name__ == "__main__":
    sys.exit(main())
