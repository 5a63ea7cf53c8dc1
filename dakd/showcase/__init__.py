"""Committed results as pictures (`dakd figures`) and as the tables of README and docs."""

from dakd.showcase.drawing import draw
from dakd.showcase.pictures import ablation, ablation_slide, contact_sheet, cutswap, robustness
from dakd.showcase.tables import (
    benchmark_table,
    difference_table,
    differences,
    gap_summary,
    question_table,
    robustness_summary,
    trust_summary,
)

__all__ = [
    "ablation",
    "ablation_slide",
    "benchmark_table",
    "contact_sheet",
    "cutswap",
    "difference_table",
    "differences",
    "draw",
    "gap_summary",
    "question_table",
    "robustness",
    "robustness_summary",
    "trust_summary",
]
