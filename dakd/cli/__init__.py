"""The command line (``dakd``)."""

from dakd.cli.parser import main, parse

__all__ = ["main", "parse"]
