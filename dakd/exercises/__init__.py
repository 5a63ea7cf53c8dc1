"""The exercises of the course: functions that check an answer, one module per notebook.

Answers are positional arguments, the notebook's data are keyword arguments.
"""

from dakd.exercises.benchmark import distinguishable, seeds_needed, without_camera_rule
from dakd.exercises.confidence_masks import calibrated_temperature, dropped_gradient, safe_quantile
from dakd.exercises.cutswap import best_channel, fixed_cutswap, same_area
from dakd.exercises.data_inspection import batch_counts, correlations, seen_by_both
from dakd.exercises.how_we_measure import map_by_camera, same_ap, trials_needed
from dakd.exercises.modality_gap import alignment_uniformity, nearest_cameras, shift_gain
from dakd.exercises.training import better_level, copied_teacher, uniform_prediction_loss
from dakd.exercises.verdict import NO_ANSWER, Verdict

__all__ = [
    "NO_ANSWER",
    "Verdict",
    "alignment_uniformity",
    "batch_counts",
    "best_channel",
    "better_level",
    "calibrated_temperature",
    "copied_teacher",
    "correlations",
    "distinguishable",
    "dropped_gradient",
    "fixed_cutswap",
    "map_by_camera",
    "nearest_cameras",
    "safe_quantile",
    "same_ap",
    "same_area",
    "seeds_needed",
    "seen_by_both",
    "shift_gain",
    "trials_needed",
    "uniform_prediction_loss",
    "without_camera_rule",
]
