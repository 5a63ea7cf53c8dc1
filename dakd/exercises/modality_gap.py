"""Exercises of notebook 05: nearest cameras, alignment and uniformity, effect of a shift."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dakd.analysis import centroid_distance
from dakd.data.records import ImageSet
from dakd.exercises.verdict import UnreadableAnswerError, Verdict, choice, exercise, number, verdict
from dakd.metrics import rank_metrics


@exercise
def nearest_cameras(pair: Any, *, embeddings: Tensor, images: ImageSet) -> Verdict:
    """Which visible and which infrared camera have the nearest mean embeddings?

    Args:
        pair: the answer, two camera numbers in any order.
        embeddings: (N, D).
        images: their split.
    """
    sides = [np.unique(images.cams[images.infrared == dark]).tolist() for dark in (False, True)]
    chosen = set(pair) if isinstance(pair, Iterable) else {pair}
    if len(chosen) != 2 or not all(chosen & set(side) for side in sides):
        names = [" ".join(map(str, side)) for side in sides]
        raise UnreadableAnswerError(
            f"Give two cameras, one visible ({names[0]}) and one infrared ({names[1]})."
        )
    distance = {}
    for cameras in product(*sides):
        rows = np.isin(images.cams, cameras)
        distance[frozenset(cameras)] = centroid_distance(embeddings[rows], images.infrared[rows])
    mine, least, most = distance[frozenset(chosen)], min(distance.values()), max(distance.values())
    return verdict(
        mine <= least,
        because=f"Their distance is {mine:.3f}, that of the farthest pair {most:.3f}. Embeddings "
        "also encode the camera and its place, not only the person.",
        hint=f"Their distance is {mine:.3f}, and another pair is nearer. Do not rely on the shared "
        "room: measure all pairs.",
    )


@exercise
def alignment_uniformity(
    aligned: Any, uniform: Any, *, networks: Mapping[str, Tensor], images: ImageSet
) -> Verdict:
    """Which network has the best alignment, and which the best uniformity?

    Both are losses on unit-length embeddings (Wang and Isola, ICML 2020), lower is better:
    alignment is the mean squared distance between images of the same person, here across
    modalities; uniformity is the log of the mean of exp(-2 · squared distance) over all pairs.

    Args:
        aligned, uniform: the answers, names of networks.
        networks: name -> embeddings, (N, D).
        images: their split.
    """
    known = [name.lower() for name in networks]
    given = [choice(answer, known) for answer in (aligned, uniform)]
    pids, infrared = torch.as_tensor(images.pids), torch.as_tensor(images.infrared)
    positive = (pids[:, None] == pids) & (infrared[:, None] & ~infrared)  # (N, N)
    losses: list[list[float]] = [[], []]
    for z in networks.values():
        losses[0].append(float(torch.cdist(z, z).square()[positive].mean()))
        losses[1].append(float(torch.pdist(z).square().mul(-2).exp().mean().log()))
    best = [known[int(np.argmin(values))] for values in losses]
    pairs = zip(("alignment", "uniformity"), given, best, strict=True)
    wrong = [name for name, mine, right in pairs if mine != right]
    rows = zip(networks, *losses, strict=True)
    return verdict(
        not wrong,
        because="Alignment and uniformity of "
        + ", ".join(f"{name}: {a:.2f} and {u:.2f}" for name, a, u in rows)
        + ". If all embeddings are equal, alignment is perfect: alignment is only meaningful "
        "together with uniformity.",
        hint=f"Check {' and '.join(wrong)} again. `across` determines the alignment; uniformity "
        "also counts pairs within a modality, which `others` does not.",
    )


@exercise
def shift_gain(points: Any, *, embeddings: Tensor, images: ImageSet) -> Verdict:
    """By how many points does mAP change when the modalities' means are made equal?

    The difference of the means is added to all visible embeddings. Infrared queries then rank all
    visible images by the inner product.

    Args:
        points: the answer, -100..100, within 0.05.
        embeddings: (N, D).
        images: their split.
    """
    value = number(points, "points of mAP between -100 and 100", low=-100, high=100)
    z, dark = embeddings.double(), images.infrared
    shift = z[dark].mean(0) - z[~dark].mean(0)  # (D,)
    who = (images.pids[dark], images.pids[~dark], images.cams[dark], images.cams[~dark])
    before, after = (
        rank_metrics(z[dark] @ gallery.T, *who, protocol="sysu").mAP
        for gallery in (z[~dark], z[~dark] + shift)
    )
    return verdict(
        abs(value - 100 * (after - before)) <= 0.05,
        because=f"mAP was {before:.1%} and is {after:.1%}: for a given query the shift adds the "
        "same number to the score of every gallery image, so that their order stays.",
        hint="Expand the inner product of a query q and a shifted image, q · (g + s). Which part "
        "differs between gallery images?",
    )
