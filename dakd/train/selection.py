"""The choice of the epoch whose weights are reported, where it is not the last."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dakd.data import ImageSet
from dakd.evaluate.embed import extract
from dakd.metrics import rank_metrics
from dakd.model import ReIDModel
from dakd.runtime import require
from dakd.train.distributed import SINGLE_PROCESS, DistributedContext


class Best:
    """Keeps the weights of the epoch with the highest score.

    Args:
        score: of a network, higher is better.
        on: what the score is measured on, for the record.
        start, every: epochs `start`, `start + every`, ... are scored. A shorter training is scored
            after its last epoch.
    """

    def __init__(
        self,
        score: Callable[[ReIDModel], float],
        on: str,
        *,
        start: int = 0,
        every: int = 1,
    ) -> None:
        self.score, self.on = score, on
        self.start, self.every = start, every
        self.epoch, self.value = -1, -np.inf
        self.state: dict[str, Tensor] = {}

    def update(
        self,
        model: ReIDModel,
        epoch: int,
        *,
        context: DistributedContext = SINGLE_PROCESS,
        last: bool = False,
    ) -> None:
        """Score the network if this epoch is scored, and keep its weights if it is the best yet.

        Args:
            model: the network.
            epoch: the one that has ended, from 0.
            context: the processes that train together; all choose the same epoch.
            last: whether it is the last.
        """
        due = epoch >= self.start and (epoch - self.start) % self.every == 0
        if not (due or (last and not self.state)):
            return
        value = context.broadcast(self.score(model))
        if value > self.value:
            state = {key: value.clone() for key, value in model.state_dict().items()}
            self.epoch, self.value, self.state = epoch, value, state

    def restore(self, model: ReIDModel) -> None:
        """Put the best weights back."""
        model.load_state_dict(self.state)

    @property
    def record(self) -> dict[str, Any]:
        """The chosen epoch, its score, and what that was measured on."""
        return {"on": self.on, "epoch": self.epoch, "score": self.value}


def hold_out(images: ImageSet, share: float, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split training images by identity into those to train on and those to choose the epoch on.

    Args:
        images: both modalities.
        share: of the identities to hold out, in 0..1; at least two are.
        seed: of the draw.

    Raises:
        ValueError: fewer than two identities would be left on either side.
    """
    people = np.random.default_rng(seed).permutation(images.classes)
    count = max(2, round(share * len(people)))
    require(
        2 <= count <= len(people) - 2,
        f"holdout={share} of {len(people)} identities leaves {len(people) - count} to learn from; "
        "hold out fewer",
    )
    held = np.isin(images.pids, people[:count])
    return images.select(~held), images.select(held)


def cross_modal_map(model: ReIDModel, images: ImageSet, *, device: str) -> float:
    """Return the mAP of infrared queries among all visible images, in 0..1."""
    z = extract(model, images, device=device)  # (N, D)
    query, gallery = images.infrared, ~images.infrared
    similarity = z[torch.from_numpy(query)] @ z[torch.from_numpy(gallery)].T
    return rank_metrics(similarity, images.pids[query], images.pids[gallery]).mAP
