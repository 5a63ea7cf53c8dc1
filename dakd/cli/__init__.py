"""The command line (``dakd``)."""

from dakd.cli.entry_point import main, parse

__all__ = ["main", "parse"]
