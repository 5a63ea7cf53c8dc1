"""Analysis of trained networks: confidence, the modality gap, significance of differences."""

from dakd.analysis.compare import paired_differences
from dakd.analysis.confidence import (
    KeptAccuracy,
    Predictions,
    Reliability,
    RiskCoverage,
    kept_accuracy,
    predict,
    reliability,
    risk_coverage,
)
from dakd.analysis.gap import (
    centroid_distance,
    identity_similarity,
    mmd,
    modality_accuracy,
    modality_gap,
    neighbour_mixing,
)
from dakd.analysis.visualisation import gradcam, umap_map

__all__ = [
    "KeptAccuracy",
    "Predictions",
    "Reliability",
    "RiskCoverage",
    "centroid_distance",
    "gradcam",
    "identity_similarity",
    "kept_accuracy",
    "mmd",
    "modality_accuracy",
    "modality_gap",
    "neighbour_mixing",
    "paired_differences",
    "predict",
    "reliability",
    "risk_coverage",
    "umap_map",
]
