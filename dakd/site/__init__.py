"""The executed course as plain pages that open without a kernel and without a network."""

from dakd.site.pages import build_site

__all__ = ["build_site"]
