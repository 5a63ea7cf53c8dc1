"""Numbers in, Figure out: every picture of the course, in one palette.

No function here loads a model or touches pyplot's state; the `Figure` it returns shows itself
when it ends a notebook cell.
"""

from dakd.figures.ablation import difference_plot
from dakd.figures.benchmark import benchmark_bars
from dakd.figures.gap import gap_bars, modality_maps
from dakd.figures.method import method_overview
from dakd.figures.pictures import contact_sheet, cutswap_strip, gradcam_overlay, pairs, strip
from dakd.figures.rankings import cmc_curve, ranked_items, ranking, trial_spread
from dakd.figures.robustness import (
    corruption_sheet,
    robustness_bars,
    severity_curves,
    severity_sheet,
)
from dakd.figures.spread import brightness_scatter, histogram
from dakd.figures.style import PALETTE, colour, png, save
from dakd.figures.training import loss_curves, loss_parts
from dakd.figures.trust import (
    confidence_histograms,
    mask_gallery,
    reliability_diagram,
    risk_coverage_curve,
)

__all__ = [
    "PALETTE",
    "benchmark_bars",
    "brightness_scatter",
    "cmc_curve",
    "colour",
    "confidence_histograms",
    "contact_sheet",
    "corruption_sheet",
    "cutswap_strip",
    "difference_plot",
    "gap_bars",
    "gradcam_overlay",
    "histogram",
    "loss_curves",
    "loss_parts",
    "mask_gallery",
    "method_overview",
    "modality_maps",
    "pairs",
    "png",
    "ranked_items",
    "ranking",
    "reliability_diagram",
    "risk_coverage_curve",
    "robustness_bars",
    "save",
    "severity_curves",
    "severity_sheet",
    "strip",
    "trial_spread",
]
