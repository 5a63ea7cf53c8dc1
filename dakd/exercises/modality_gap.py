"""Exercises of notebook 05: which cameras are near, who aligns, and what a shift does."""

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
    """Which visible and which infrared camera are nearest to each other in the embedding?

    Args:
        pair: the answer, two camera numbers in any order.
        embeddings: (N, D); a camera is where its images' mean is.
        images: the split that they belong to.

    Example:
        >>> nearest_cameras(None, embeddings=torch.eye(2), images=None).right is None
        True
    """
    sides = [np.unique(images.cams[images.infrared == dark]).tolist() for dark in (False, True)]
    chosen = set(pair) if isinstance(pair, Iterable) else {pair}
    if len(chosen) != 2 or not all(chosen & set(side) for side in sides):
        names = [" ".join(map(str, side)) for side in sides]
        raise UnreadableAnswerError(
            f"Give two cameras, a visible one of {names[0]} and an infrared one of {names[1]}."
        )
    distance = {}
    for cameras in product(*sides):
        rows = np.isin(images.cams, cameras)
        distance[frozenset(cameras)] = centroid_distance(embeddings[rows], images.infrared[rows])
    mine, least, most = distance[frozenset(chosen)], min(distance.values()), max(distance.values())
    return verdict(
        mine <= least,
        because=f"Their distance is {mine:.3f}, that of the farthest pair {most:.3f}. A part "
        "of what an embedding holds is the camera and its place, and not the person.",
        hint=f"Their distance is {mine:.3f}, and another pair is nearer. A shared room is one "
        "guess of many: measure every pair.",
    )


@exercise
def alignment_uniformity(
    aligned: Any, uniform: Any, *, networks: Mapping[str, Tensor], images: ImageSet
) -> Verdict:
    """Which network is the best aligned, and which the most uniform?

    Both are losses of Wang and Isola (ICML 2020) on unit-length embeddings, small being good:
    alignment is the mean squared distance between two images of a person, here across modalities;
    uniformity is the log of the mean of exp(-2 · squared distance) over all pairs of images.

    Args:
        aligned, uniform: the answers, names of networks.
        networks: embeddings (N, D) of each network.
        images: the split that they belong to.

    Example:
        >>> alignment_uniformity("teacher", None, networks={}, images=None).right is None
        True
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
    told = zip(networks, *losses, strict=True)
    return verdict(
        not wrong,
        because="Alignment and uniformity of "
        + ", ".join(f"{name}: {a:.2f} and {u:.2f}" for name, a, u in told)
        + ". Where everybody looks alike, everybody is aligned: the one counts beside the other.",
        hint=f"Look at {' and '.join(wrong)} again. `across` decides the alignment; uniformity "
        "also counts pairs inside a modality, which `others` leaves out.",
    )


@exercise
def shift_gain(points: Any, *, embeddings: Tensor, images: ImageSet) -> Verdict:
    """By how many points does mAP rise when the clouds are moved onto each other?

    Every visible embedding gets the same vector added, which brings the visible mean to the
    infrared one. Infrared queries then rank all visible images by the inner product.

    Args:
        points: the answer, -100..100; 0.05 off is near enough.
        embeddings: (N, D).
        images: the split that they belong to.

    Example:
        >>> shift_gain(400, embeddings=torch.eye(2), images=None)
        ✗ Not yet. Give points of mAP between -100 and 100.
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
        because=f"mAP was {before:.1%} and is {after:.1%}: to one query the shift adds the same "
        "number for every gallery image. The distance of the clouds is gone, and the order stays.",
        hint="Write the inner product of a query q and a shifted image out, q · (g + s). Which "
        "part of it differs from one gallery image to another?",
    )
