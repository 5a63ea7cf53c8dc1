"""Batches for cross-modal training: P identities with Q images of each in each modality.

`IdentitySampler` draws as in the published codes, `BalancedSampler` uses all identities and images
equally often.
"""

import math
from collections.abc import Iterator

import numpy as np


class CrossModalSampler:
    """Base class of both samplers: rows by identity, the length of an epoch, a report.

    Iterating yields the batches of an epoch as visible and infrared row numbers, (P * Q,) int64
    each; entry i of both shows the same person, and the Q images of a person are consecutive.

    Args:
        labels: identity of every image, (N,) integers.
        infrared: True where an image is infrared, (N,) bool.
        identities: P, identities per batch.
        images: Q, images per identity in each modality.
        steps: batches per epoch; by default `default_steps`.
        seed: seed of the draws.

    Attributes:
        uneven: whether identities are left out, or images of an identity repeated in a batch.
        report: text on identities that are left out (no image in one modality) or whose images are
            repeated (fewer than Q).

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
        one_sided = [pid for pid, rows in self.rows.items() if not (len(rows[0]) and len(rows[1]))]
        for pid in one_sided:
            del self.rows[pid]
        few = [pid for pid, rows in self.rows.items() if min(map(len, rows)) < images]
        self.uneven = bool(one_sided or few)
        self.report = (
            f"{len(self.rows)} identities in use\n"
            f"left out, no image in one modality: {_listed(one_sided)}\n"
            f"fewer than {images} images in a modality, repeated in a batch: {_listed(few)}"
        )
        if len(self.rows) < identities:
            raise ValueError(
                f"a batch needs {identities} identities, but only {len(self.rows)} have images "
                "in both modalities; use fewer, or add images"
            )
        most = max(sum(len(rows[m]) for rows in self.rows.values()) for m in (0, 1))
        self.steps = steps or self.default_steps(most)

    def default_steps(self, most: int) -> int:
        """Return the batches per epoch, where the larger modality has `most` images."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        raise NotImplementedError


class IdentitySampler(CrossModalSampler):
    """Draws as published: P identities for every batch, Q images of each with replacement.

    Batches are independent. The numbers come from NumPy's legacy generator in the order of the
    published codes of MCE and DAKD, so a seed gives the same rows (docs/parity.md); an epoch
    continues the random numbers of the previous one. An epoch has ``N // (P * Q) + 1`` batches,
    where N is the number of images of the larger modality.

    Example:
        >>> labels, infrared = np.repeat([0, 1, 2], 4), np.tile([False, True], 6)
        >>> sampler = IdentitySampler(labels, infrared, identities=2, images=2)
        >>> visible, thermal = next(iter(sampler))
        >>> bool((labels[visible] == labels[thermal]).all()), len(visible), len(sampler)
        (True, 4, 2)
    """

    _ended: tuple[int, np.random.RandomState] | None = None  # the next epoch and its generator

    def default_steps(self, most: int) -> int:
        """Return one more than the number of full batches."""
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
    """Uses all identities, and all images of each, equally often.

    Differs from the published codes: within a batch, no identity is repeated, and an image only if
    its identity has fewer than Q. Within an epoch, the numbers of batches of any two identities
    differ by at most one, and all images of an identity are used before one is repeated. An epoch
    has ``ceil(N / (P * Q))`` batches, where N is the number of images of the larger modality; they
    depend on ``(seed, epoch)`` alone.
    """

    def default_steps(self, most: int) -> int:
        """Return the number of batches in which every image is used once."""
        return math.ceil(most / (self.identities * self.images))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        people = _Deck(np.array(list(self.rows)), rng)
        decks = {pid: [_Deck(rows, rng) for rows in pair] for pid, pair in self.rows.items()}
        for _ in range(self.steps):
            batch = people.draw(self.identities)  # (P,)
            visible, infrared = (
                np.concatenate([decks[pid][m].draw_repeating(self.images) for pid in batch])
                for m in (0, 1)
            )
            yield visible, infrared


SAMPLERS: dict[str, type[CrossModalSampler]] = {
    "published": IdentitySampler,
    "balanced": BalancedSampler,
}


class _Deck:
    """Draws items without replacement, and starts again when none is left."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self.items = items
        self.rng = rng
        self.left = items[:0]

    def draw(self, count: int) -> np.ndarray:
        """Return `count` distinct items; `count` is at most the number of items."""
        taken, self.left = self.left[:count], self.left[count:]
        if missing := count - len(taken):
            fresh = self.rng.permutation(self.items)
            new = np.flatnonzero(~np.isin(fresh, taken))[:missing]
            self.left = np.delete(fresh, new)
            taken = np.concatenate([taken, fresh[new]])
        return taken

    def draw_repeating(self, count: int) -> np.ndarray:
        """Return `count` items in random order, whose frequencies differ by at most one."""
        rounds, rest = divmod(count, len(self.items))
        return self.rng.permutation(np.concatenate([np.tile(self.items, rounds), self.draw(rest)]))


def _listed(pids: list[int], limit: int = 10) -> str:
    if not pids:
        return "none"
    rest = f" and {len(pids) - limit} more" if len(pids) > limit else ""
    return f"{len(pids)} (identities {', '.join(map(str, pids[:limit]))}{rest})"
