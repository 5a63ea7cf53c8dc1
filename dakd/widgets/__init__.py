"""Figures with controls, each on top of a pure function ``render_*(...) -> Figure``.

An error in such a function is an error of the cell or of the moved control. All controls work from
the keyboard.
"""

from dakd.widgets.hover import hover_map
from dakd.widgets.images import (
    cutswap_playground,
    image_browser,
    render_cutswap,
    render_people,
    render_person,
)
from dakd.widgets.live import LiveCurves
from dakd.widgets.networks import gap_explorer, loss_terms, mask_explorer, render_mask
from dakd.widgets.panel import Panel
from dakd.widgets.rankings import query_browser, ranking_playground, render_query, render_ranking

__all__ = [
    "LiveCurves",
    "Panel",
    "cutswap_playground",
    "gap_explorer",
    "hover_map",
    "image_browser",
    "loss_terms",
    "mask_explorer",
    "query_browser",
    "ranking_playground",
    "render_cutswap",
    "render_mask",
    "render_people",
    "render_person",
    "render_query",
    "render_ranking",
]
