"""Exercises of notebook 03: loss of uniform predictions, a copied teacher, levels alone."""

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
    """What is the teacher's total loss if all embeddings are equally similar to all prototypes?

    Args:
        total: the answer, within 1 %.
        num_classes: K, the number of training people.
        weights: of the five terms.
        margin: of the triplet loss.
    """
    given = number(total, "a number above 0", low=0)
    log_k = math.log(num_classes)
    contrasts = log_k * (weights["global"] + 2 * weights["modality"] + weights["auxiliary"])
    right = contrasts + weights["triplet"] * margin
    near = math.isclose(given, contrasts, rel_tol=0.002)
    return verdict(
        not near and math.isclose(given, right, rel_tol=0.01),
        because="Equal predictions have a divergence of 0, and equal distances leave the margin. A "
        "total far above this comes from confident, wrong predictions.",
        hint="The contrastive losses are right. What is the triplet loss for equal distances?"
        if near
        else "Four contrastive losses are log K each: one in `global`, two in `modality`, one in "
        "`auxiliary`. Each term has its weight.",
    )


@exercise
def copied_teacher(
    testing: Any, training: Any, *, teacher: nn.Module, images: Tensor, centres: ByModality
) -> Verdict:
    """What is DAKD's loss for a student that is a copy of its teacher?

    Args:
        testing, training: the answers, the total with the copy in eval mode and in train mode,
            within 2 %. The teacher is in eval mode in both cases.
        teacher: the network, which is copied.
        images: the batch, visible half first, (2B, 3, H, W).
        centres: class centres of the teacher, (K, D) each.
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
        return Verdict(False, "In eval mode the copy has the outputs of the teacher.")
    return verdict(
        math.isclose(given[1], right[1], rel_tol=0.02),
        because="The same weights have different outputs: in train mode, batch norm uses the "
        "statistics of the batch, so that even a perfect copy has a loss.",
        hint="Eval mode is right. In train mode, batch norm uses the statistics of the batch, "
        "separately for each modality: pass streams=2 and unit=False.",
    )


@exercise
def better_level(level: Any, *, table: pd.DataFrame, metric: str = "mAP") -> Verdict:
    """Which level alone gives the better student, as far as the seeds of the table show?

    Compares the rows ``no_instance`` (class level alone) and ``no_class`` (instance level alone).

    Args:
        level: the answer, ``"instance"``, ``"class"`` or ``"neither"`` (if the 95 % interval of
            Student's t over seeds contains zero).
        table: from `dakd.studies.ablation.run_grid`.
        metric: see `dakd.analysis.paired_differences`.

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
        because=f"Class level alone differs from instance level alone by {mean:+.1f} points of "
        f"{metric} ({low:+.1f} to {high:+.1f}).",
        hint="Read the interval before the mean: does it contain zero? And which level is removed "
        "in which row?",
    )
