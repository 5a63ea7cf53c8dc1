"""All figures of the course: functions from results to a `Figure`, in one palette.

They load no model and leave pyplot's state alone. A figure at the end of a notebook cell displays
itself. Two arguments are common: `title` is written above the figure, and `labels` maps a method or
a setting to its name in the figure; others keep their name.
"""

from dakd.figures.ablation import difference_plot
from dakd.figures.benchmark import benchmark_bars
from dakd.figures.confidence import (
    confidence_histograms,
    mask_gallery,
    reliability_diagram,
    risk_coverage_curve,
)
from dakd.figures.distributions import brightness_scatter, histogram
from dakd.figures.gap import gap_bars, modality_maps
from dakd.figures.images import cutswap_strip, gradcam_overlay, image_grid, pairs, strip
from dakd.figures.method import method_overview
from dakd.figures.rankings import cmc_curve, ranked_items, ranking, trial_spread
from dakd.figures.robustness import corruption_grid, robustness_bars, severity_curves
from dakd.figures.style import PALETTE, colour, png, save
from dakd.figures.training import loss_curves, loss_parts

__all__ = [
    "PALETTE",
    "benchmark_bars",
    "brightness_scatter",
    "cmc_curve",
    "colour",
    "confidence_histograms",
    "corruption_grid",
    "cutswap_strip",
    "difference_plot",
    "gap_bars",
    "gradcam_overlay",
    "histogram",
    "image_grid",
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
    "strip",
    "trial_spread",
]
