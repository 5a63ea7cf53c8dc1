"""Losses of the teacher (MCE) and of identity classification, and what all losses return.

The student's loss is in `dakd.distill`. Everything is computed in float32, also under autocast.
"""

from dakd.losses.contrast import (
    TEMPERATURE,
    Streams,
    cross_modal_mutual,
    global_centre_triplet,
    info_nce,
    mutual_kl,
)
from dakd.losses.identity import IdentityLoss
from dakd.losses.teacher import WEIGHTS, TeacherLoss
from dakd.losses.terms import LossTerms, in_float32, weighted

__all__ = [
    "TEMPERATURE",
    "WEIGHTS",
    "IdentityLoss",
    "LossTerms",
    "Streams",
    "TeacherLoss",
    "cross_modal_mutual",
    "global_centre_triplet",
    "in_float32",
    "info_nce",
    "mutual_kl",
    "weighted",
]
