"""``python -m dakd`` is ``dakd``, for launchers such as ``accelerate launch``."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; Ctrl-C before and after a command ends the process at once."""
    signal.signal(signal.SIGINT, _end)
    from dakd.cli.entry_point import main as command

    return command()


def _end(number: int, frame: FrameType | None) -> None:
    """End without the traceback that Python prints during imports."""
    os.write(2, b"dakd: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
