"""``python -m dakd`` is ``dakd``, which is what launchers of several processes can start."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; Ctrl-C before and after a command's work ends the process at once."""
    signal.signal(signal.SIGINT, _end)
    from dakd.cli.parser import main as command

    return command()


def _end(number: int, frame: FrameType | None) -> None:
    """End while modules are imported, which Python would report by a traceback."""
    os.write(2, b"dakd: stopped\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
