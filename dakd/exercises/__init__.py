"""The course's exercises: one function each, which says whether an answer is right.

One module a notebook. The reader's answers are positional, the notebook's data are keywords.
"""

from dakd.exercises.augmentation import best_channel, mended, same_area
from dakd.exercises.benchmark import seeds_needed, told_apart, without_camera_rule
from dakd.exercises.drawing import batch_counts, correlations, seen_by_both
from dakd.exercises.gap import alignment_uniformity, nearest_cameras, shift_gain
from dakd.exercises.masks import dropped_gradient, honest_temperature, safe_quantile
from dakd.exercises.measuring import by_camera, same_ap, trials_needed
from dakd.exercises.training import better_level, copied_teacher, undecided
from dakd.exercises.verdict import NO_ANSWER, Verdict

__all__ = [
    "NO_ANSWER",
    "Verdict",
    "alignment_uniformity",
    "batch_counts",
    "best_channel",
    "better_level",
    "by_camera",
    "copied_teacher",
    "correlations",
    "dropped_gradient",
    "honest_temperature",
    "mended",
    "nearest_cameras",
    "safe_quantile",
    "same_ap",
    "same_area",
    "seeds_needed",
    "seen_by_both",
    "shift_gain",
    "told_apart",
    "trials_needed",
    "undecided",
    "without_camera_rule",
]
