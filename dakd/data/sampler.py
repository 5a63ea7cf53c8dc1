"""Batches for cross-modal training: P identities with Q images of each in either modality.

`IdentitySampler` draws as the published codes do, `BalancedSampler` so that all identities and
images are used equally often.
"""

import math
from collections.abc import Iterator

import numpy as np


class CrossModalSampler:
    """What both samplers share: rows by identity, the length of an epoch, its report.

    Iterating yields the batches of an epoch, each as visible and infrared row numbers, (P * Q,)
    int64; row i of both is the same person, and the Q images of a person follow one another.

    Args:
        labels: identity of every image, (N,) integers.
        infrared: True where an image is infrared, (N,) bool.
        identities: P, identities in a batch.
        images: Q, images of an identity in each modality.
        steps: batches an epoch; by default as many as `default_steps` says.
        seed: the draws follow from it.

    Attributes:
        uneven: some identities are left out or repeated.
        report: text on identities left out (no image in one modality) and repeated (fewer than Q).

    Raises:
        ValueError: shapes or sizes do not fit, or fewer than P identities have both modalities.
    """

    def __init__(
        self,
        labels: np.ndarray,
        infrared: np.ndarray,
        *,
        identities: int,
        images: int,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        labels, infrared = np.asarray(labels), np.asarray(infrared)
        if labels.ndim != 1 or labels.shape != infrared.shape or infrared.dtype != bool:
            raise ValueError(
                "labels must be (N,) and infrared (N,) bool, not "
                f"{labels.shape} and {infrared.shape} {infrared.dtype}"
            )
        for name, value in (("identities", identities), ("images", images), ("steps", steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.identities, self.images, self.seed, self.epoch = identities, images, seed, 0
        self.rows = {  # identity -> (visible rows, infrared rows)
            int(pid): (np.flatnonzero(own & ~infrared), np.flatnonzero(own & infrared))
            for pid in np.unique(labels)
            for own in [labels == pid]
        }
        lonely = [pid for pid, rows in self.rows.items() if not (len(rows[0]) and len(rows[1]))]
        for pid in lonely:
            del self.rows[pid]
        few = [pid for pid, rows in self.rows.items() if min(map(len, rows)) < images]
        self.uneven = bool(lonely or few)
        self.report = (
            f"{len(self.rows)} identities in use\n"
            f"left out, no image in one modality: {_listed(lonely)}\n"
            f"fewer than {images} images in a modality, repeated in a batch: {_listed(few)}"
        )
        if len(self.rows) < identities:
            raise ValueError(
                f"a batch asks for {identities} identities, but only {len(self.rows)} have images "
                "in both modalities; ask for fewer, or add images"
            )
        most = max(sum(len(rows[m]) for rows in self.rows.values()) for m in (0, 1))
        self.steps = steps or self.default_steps(most)

    def default_steps(self, most: int) -> int:
        """Return the batches of an epoch, where the larger modality has `most` images."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose batches the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        raise NotImplementedError


class IdentitySampler(CrossModalSampler):
    """Draws as published: P identities anew for every batch, Q images of each with replacement.

    A batch takes no notice of those before it. The numbers come from NumPy's legacy generator, in
    the order of the codes that MCE and DAKD published, so that a seed gives their rows
    (docs/parity.md); a later epoch goes on where the one before it ended. An epoch has
    ``N // (P * Q) + 1`` batches, N the images of the larger modality.

    Example:
        >>> labels, infrared = np.repeat([0, 1, 2], 4), np.tile([False, True], 6)
        >>> sampler = IdentitySampler(labels, infrared, identities=2, images=2)
        >>> visible, thermal = next(iter(sampler))
        >>> bool((labels[visible] == labels[thermal]).all()), len(visible), len(sampler)
        (True, 4, 2)
    """

    _ended: tuple[int, np.random.RandomState] | None = None  # the epoch that comes next, its draws

    def default_steps(self, most: int) -> int:
        """Return one batch more than are filled."""
        return most // (self.identities * self.images) + 1

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng, epoch = np.random.RandomState(self.seed), self.epoch
        skipped = epoch
        if self._ended and self._ended[0] <= epoch:
            rng.set_state(self._ended[1].get_state())
            skipped = epoch - self._ended[0]
        for _ in range(skipped * self.steps):
            self._batch(rng)
        for _ in range(self.steps):
            yield self._batch(rng)
        self._ended = epoch + 1, rng

    def _batch(self, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        people = rng.choice(np.array(list(self.rows)), self.identities, replace=False)
        drawn = [[rng.choice(rows, self.images) for rows in self.rows[pid]] for pid in people]
        visible, infrared = (np.concatenate(rows) for rows in zip(*drawn, strict=True))
        return visible, infrared


class BalancedSampler(CrossModalSampler):
    """Uses all identities, and all images of each, equally often; ours.

    Inside a batch no identity appears twice, and no image while its identity has another one left.
    Over an epoch every identity is used as often as the others, give or take one batch, and every
    image of an identity is used before any is used again. An epoch has
    ``ceil(N / (P * Q))`` batches, N the images of the larger modality, and they follow from
    ``(seed, epoch)`` alone.
    """

    def default_steps(self, most: int) -> int:
        """Return as many batches as it takes to see every image once."""
        return math.ceil(most / (self.identities * self.images))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        people = _Bag(np.array(list(self.rows)), rng)
        bags = {pid: [_Bag(rows, rng) for rows in pair] for pid, pair in self.rows.items()}
        for _ in range(self.steps):
            batch = people.draw(self.identities)  # (P,)
            visible, infrared = (
                np.concatenate([bags[pid][m].draw_repeating(self.images) for pid in batch])
                for m in (0, 1)
            )
            yield visible, infrared


SAMPLERS: dict[str, type[CrossModalSampler]] = {
    "published": IdentitySampler,
    "balanced": BalancedSampler,
}


class _Bag:
    """Draws distinct items; every item is drawn once before any is drawn again."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self.items = items
        self.rng = rng
        self.left = items[:0]

    def draw(self, count: int) -> np.ndarray:
        """Return `count` distinct items, at most as many as there are."""
        taken, self.left = self.left[:count], self.left[count:]
        if missing := count - len(taken):
            fresh = self.rng.permutation(self.items)
            new = np.flatnonzero(~np.isin(fresh, taken))[:missing]
            self.left = np.delete(fresh, new)
            taken = np.concatenate([taken, fresh[new]])
        return taken

    def draw_repeating(self, count: int) -> np.ndarray:
        """Return `count` items in random order, each as often as the others or once more."""
        rounds, rest = divmod(count, len(self.items))
        return self.rng.permutation(np.concatenate([np.tile(self.items, rounds), self.draw(rest)]))


def _listed(pids: list[int], limit: int = 10) -> str:
    if not pids:
        return "none"
    rest = f" and {len(pids) - limit} more" if len(pids) > limit else ""
    return f"{len(pids)} (identities {', '.join(map(str, pids[:limit]))}{rest})"
