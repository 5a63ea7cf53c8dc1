"""Exercises of notebook 03: an undecided network's loss, a copied teacher, either level alone."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from dakd.analysis import paired_differences
from dakd.distill import ByModality, DAKDLoss
from dakd.exercises.verdict import Verdict, choice, exercise, number, numbers, verdict
from dakd.losses import WEIGHTS


@exercise
def uniform_prediction_loss(
    total: Any,
    *,
    num_classes: int,
    weights: Mapping[str, float] = WEIGHTS,
    margin: float = 0.3,
) -> Verdict:
    """What is the teacher's weighted total, if every embedding is equally near to all prototypes?

    Args:
        total: the answer; 1 % off is near enough.
        num_classes: K, people in training.
        weights: of the five parts.
        margin: of the triplet.

    Example:
        >>> uniform_prediction_loss(math.log(24), num_classes=24)
        ✗ Not yet. Four contrasts pay log K each: one is global, two are in modality, one is \
auxiliary. Each part has its weight.
    """
    given = number(total, "a number above 0", low=0)
    log_k = math.log(num_classes)
    contrasts = log_k * (weights["global"] + 2 * weights["modality"] + weights["auxiliary"])
    right = contrasts + weights["triplet"] * margin
    near = math.isclose(given, contrasts, rel_tol=0.002)
    return verdict(
        not near and math.isclose(given, right, rel_tol=0.01),
        because="Two equal predictions have no divergence, and two equal distances leave the "
        "margin. A total far above this comes from a network that is decided, and wrong.",
        hint="The contrasts are right. What does the triplet pay where both distances are equal?"
        if near
        else "Four contrasts pay log K each: one is global, two are in modality, one is auxiliary. "
        "Each part has its weight.",
    )


@exercise
def copied_teacher(
    testing: Any, training: Any, *, teacher: nn.Module, images: Tensor, centres: ByModality
) -> Verdict:
    """What does DAKD's loss say of a student that is a copy of its teacher?

    Args:
        testing, training: the answers, the total with the copy in eval mode and in train mode;
            2 % off is near enough. The teacher is in eval mode both times.
        teacher: the network; a copy is used.
        images: the batch, visible half first, (2B, 3, H, W).
        centres: the teacher's class centres, (K, D) each.

    Example:
        >>> from dakd.model import build_model
        >>> network = build_model("small")
        >>> x = torch.rand(8, 3, 32, 16, generator=torch.Generator().manual_seed(0))
        >>> z = ByModality(torch.eye(5, 256), torch.eye(5, 256))
        >>> copied_teacher(0.0, 0.0, teacher=network, images=x, centres=z)
        ✗ Not yet. Eval mode is right. In train mode a batch norm divides by the statistics of \
this batch, of each modality by itself: pass streams=2 and unit=False.
    """
    kind = "two losses, numbers from 0"
    given = numbers([testing, training], 2, kind, low=0)

    @torch.no_grad()
    def embed(network: nn.Module, unit: bool = True) -> ByModality:
        return ByModality(*network(images, streams=2, unit=unit).chunk(2))

    target = embed(copy.deepcopy(teacher).eval())
    copies = (copy.deepcopy(teacher).train(mode) for mode in (False, True))
    right = [DAKDLoss()(embed(one, unit=False), target, centres).total.item() for one in copies]
    if not math.isclose(given[0], right[0], abs_tol=1e-3):
        return Verdict(False, "In eval mode the copy says what the teacher says, about each image.")
    return verdict(
        math.isclose(given[1], right[1], rel_tol=0.02),
        because="The same weights and another answer: a student's batch norm uses the batch's own "
        "statistics, so even a perfect copy has something to learn.",
        hint="Eval mode is right. In train mode a batch norm divides by the statistics of this "
        "batch, of each modality by itself: pass streams=2 and unit=False.",
    )


@exercise
def better_level(level: Any, *, table: pd.DataFrame, metric: str = "mAP") -> Verdict:
    """Which level alone carries the student further, as far as the table's seeds can tell?

    The rows ``no_instance`` and ``no_class``: class level alone, and instance level alone.

    Args:
        level: the answer, ``"instance"``, ``"class"`` or ``"neither"`` (the 95 % interval of
            Student's t over seeds holds zero).
        table: what `dakd.studies.ablation.run_grid` returned.
        metric: which.

    Raises:
        ValueError: the table lacks one of the two rows.
    """
    given = choice(level, ("instance", "class", "neither"))
    both = table[table["run"].isin(["no_instance", "no_class"])]
    apart = paired_differences(both, metric=metric, baseline="no_class")
    if "no_instance" not in apart.index:
        raise ValueError("the table has no row no_instance; make it with `dakd reproduce`")
    low, mean, high = (100 * apart.loc["no_instance", key] for key in ("t_low", "mean", "t_high"))
    right = "class" if low > 0 else "instance" if high < 0 else "neither"
    return verdict(
        given == right,
        because=f"Class level alone is {mean:+.1f} points of {metric} from instance level alone "
        f"({low:+.1f} to {high:+.1f}).",
        hint="Read the interval before the mean: does it hold zero? And which of the two was "
        "left out in which row?",
    )
