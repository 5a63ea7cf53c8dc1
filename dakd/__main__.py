"""``python -m dakd`` is ``dakd``, which is what launchers of several processes can start."""

import sys

from dakd.cli import main

if __name__ == "__main__":
    sys.exit(main())
