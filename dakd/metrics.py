"""CMC, mAP and mINP of a ranking, with the camera rules of the VI-ReID protocols.

Each query ranks the gallery by decreasing similarity. Ties count against the query: among equal
similarities, images of other identities come first, so that no result depends on the order of the
gallery. After the protocol's camera rule has dropped gallery images, let r_1 < ... < r_m be the
ranks, from 1, of the m images of the query's identity. Then

* AP = (1/m) sum_i i / r_i, the mean precision at the correct images (no interpolation);
* INP = m / r_m, the inverse negative penalty, which is set by the last correct image;
* CMC@k is the fraction of queries with a first match of rank k or better.

mAP, mINP and CMC are means over the queries with m > 0; the others are excluded. A rank in CMC
counts either *images*, or *identities*: then only the best image of each identity stays in the
list. Rank 1 is the same in both cases.

Source: Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021
(mINP); Wu et al., ICCV 2017 (the rules of SYSU-MM01); Zhang and Wang, CVPR 2023 (those of LLCM).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.protocols.camera_rules import PROTOCOLS, Numbers, People, Rule, Unit, rule_of
from dakd.runtime import require


@dataclass(frozen=True)
class RankMetrics:
    """What `rank_metrics` returns.

    Attributes:
        cmc: rank -> fraction of the valid queries, 0..1.
        mAP, mINP: 0..1, means over the valid queries.
        num_valid: queries with a correct gallery image after the camera rule.
        num_queries: all queries.
        per_query: one row per query: ``rank`` of the first match (in the unit of the CMC), ``AP``,
            ``INP`` (all NaN without a match) and ``matches``, the number m of correct images.
    """

    cmc: dict[int, float]
    mAP: float
    mINP: float
    num_valid: int
    num_queries: int
    per_query: pd.DataFrame = field(repr=False, compare=False)


def rank_metrics(
    similarity: Tensor | np.ndarray,
    query_pids: Numbers,
    gallery_pids: Numbers,
    query_cams: Numbers | None = None,
    gallery_cams: Numbers | None = None,
    *,
    protocol: str | None = None,
    ranks: Sequence[int] = (1, 5, 10, 20),
    cmc_unit: Unit | None = None,
    chunk: int | None = None,
) -> RankMetrics:
    """Measure how well `similarity` ranks the gallery for every query.

    The protocol's `camera_rule` drops gallery images first. CMC counts identities under ``"sysu"``
    and ``"llcm"``, images under the others. On RegDB published code disagrees: AGW's counts images,
    MPANet's identities (``cmc_unit="identity"``), which gives the higher rank-5, 10 and 20; rank-1,
    mAP and mINP do not depend on it.

    Ties count against the query: among equal similarities, images of other identities come before
    those of its own.

    ``"llcm-released"`` is what the authors' script computes for visible queries: it ranks all query
    images for each gallery image. Pass the arguments as for ``"llcm"``; their roles are swapped
    here, so that `RankMetrics` counts gallery images and ``per_query`` has one row for each. (For
    infrared queries the script does not swap the roles: use ``"llcm"``.)

    Computes on the CPU in float32 or float64 with ``torch.get_num_threads()`` threads; a tensor on
    another device is copied in chunks.

    Args:
        similarity: (Q, G) real numbers, higher is more similar; a tensor on any device or an array.
        query_pids, gallery_pids: identities, whole numbers, (Q,) and (G,).
        query_cams, gallery_cams: cameras, (Q,) and (G,); required if there is a camera rule.
        protocol: ``"sysu"``, ``"regdb"``, ``"llcm"``, ``"llcm-released"``, ``"none"`` or None.
        ranks: the k of CMC@k.
        cmc_unit: ``"identity"`` or ``"image"`` instead of the protocol's own.
        chunk: queries per thread at a time; None limits the memory to a few MiB per thread.

    Raises:
        ValueError: an invalid argument, similarities that are not finite, or no query has a match.

    Example:
        The only match of query 7 is third, behind two images of identity 8:

        >>> scores = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
        >>> result = rank_metrics(scores, [7, 8], [8, 8, 7], ranks=(1, 2))
        >>> result.cmc, round(result.mAP, 3), result.mINP
        ({1: 0.5, 2: 0.5}, 0.667, 0.6666666666666666)
        >>> rank_metrics(scores, [7, 8], [8, 8, 7], ranks=(1, 2), cmc_unit="identity").cmc
        {1: 0.5, 2: 1.0}
    """
    rule = rule_of(protocol)
    rule = rule._replace(unit=rule.unit if cmc_unit is None else cmc_unit)
    require(
        rule.unit in ("identity", "image"),
        f"cmc_unit must be 'identity' or 'image', not {cmc_unit!r}",
    )
    require(
        len(ranks) > 0 and all(int(k) == k >= 1 for k in ranks),
        f"ranks must be one or more whole numbers from 1, not {ranks!r}",
    )
    require(chunk is None or chunk >= 1, f"chunk must be at least 1, not {chunk}")
    scores = _matrix(similarity)
    query = _people("query", query_pids, query_cams, scores.shape[0], protocol)
    gallery = _people("gallery", gallery_pids, gallery_cams, scores.shape[1], protocol)
    if rule.exchanged:
        scores, query, gallery = scores.T, gallery, query

    first, ap, inp, matches = _Ranking(scores, query, gallery, rule).measure(chunk)
    valid = matches > 0
    if not valid.any():
        raise ValueError(
            f"no query has an image of its identity in the gallery: among the queries' identities "
            f"are {np.unique(query.pids)[:8]}, among the gallery's {np.unique(gallery.pids)[:8]}; "
            f"dropped by protocol {protocol!r}: {rule.drops}. Check that both use the same "
            "identity numbers"
        )
    return RankMetrics(
        cmc={int(k): float((first[valid] <= k).mean()) for k in ranks},
        mAP=float(ap[valid].mean()),
        mINP=float(inp[valid].mean()),
        num_valid=int(valid.sum()),
        num_queries=len(valid),
        per_query=pd.DataFrame({"rank": first, "AP": ap, "INP": inp, "matches": matches}),
    )


class _Ranking:
    """A gallery sorted by identity, ranked for a few queries at a time.

    Similarities are mapped to integers of the same order, the *keys*.
    """

    KEYS = 2**18  # per chunk: a few MiB, which fit into the cache of a core

    def __init__(
        self, scores: Tensor | np.ndarray, query: People, gallery: People, rule: Rule
    ) -> None:
        self.scores, self.query, self.rule = scores, query, rule
        self.columns = np.argsort(gallery.pids, kind="stable")  # (G,)
        self.gallery = People(gallery.pids[self.columns], gallery.cams[self.columns])
        pids = self.gallery.pids
        self.starts = np.unique(pids, return_index=True)[1]  # (K,), an identity's first image
        self.begin = np.searchsorted(pids, query.pids)  # (Q,), the query's identity ...
        self.end = np.searchsorted(pids, query.pids, side="right")  # ... ends before this one

    def measure(self, chunk: int | None) -> tuple[np.ndarray, ...]:
        """Return rank of the first match, AP, INP (NaN without a match) and matches, (Q,) each."""
        queries, gallery = self.scores.shape
        step = chunk or max(1, self.KEYS // gallery)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy sorts without the GIL
            pieces = (slice(start, start + step) for start in range(0, queries, step))
            parts = list(pool.map(self._measure, pieces))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _measure(self, rows: slice) -> tuple[np.ndarray, ...]:
        keys = self._keys(rows)  # (B, G)
        own, matches = self._own(keys, rows)  # (B, M), falling; (B,)
        best = np.maximum.reduceat(keys, self.starts, axis=1)  # (B, K), of each identity
        first = (best >= own[:, :1]).sum(axis=1)  # (B,), with the own identity among them
        keys.sort(axis=1)
        below = [row.searchsorted(wanted) for row, wanted in zip(keys, own, strict=True)]
        position = _positions(keys.shape[1] - np.stack(below), matches)  # (B, M), from 1, rising
        if self.rule.unit == "image":
            first = position[:, 0]
        values = first, _average_precision(position, matches), _last_penalty(position, matches)
        return *(np.where(matches > 0, value, np.nan) for value in values), matches

    def _own(self, keys: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Decreasing keys of the query's identity, padded with the lowest, and their number."""
        begin, end = self.begin[rows, None], self.end[rows, None]  # (B, 1)
        column = begin + np.arange(max(1, int((end - begin).max())))  # (B, M)
        own = np.take_along_axis(keys, np.minimum(column, keys.shape[1] - 1), axis=1)
        dropped = _dropped(keys)
        own = np.sort(np.where(column < end, own, dropped), axis=1)[:, ::-1]
        return own, (own > dropped).sum(axis=1)

    def _keys(self, rows: slice) -> np.ndarray:
        """Keys sorted by identity, (B, G) int32 or int64."""
        scores = _floats(self.scores[rows])
        if not np.isfinite(scores).all():
            row, column = np.argwhere(~np.isfinite(scores))[0].tolist()
            place = [rows.start + row, column][:: -1 if self.rule.exchanged else 1]
            raise ValueError(
                f"similarity{place} is {scores[row, column]}; check for features that are not "
                "finite, or have zero length before they are normalised"
            )
        keys = np.take(_codes(scores), self.columns, axis=1)
        if self.rule.drop:
            query = People(self.query.pids[rows, None], self.query.cams[rows, None])
            np.putmask(keys, self.rule.drop(query, self.gallery), _dropped(keys))
        return keys


def _codes(scores: np.ndarray) -> np.ndarray:
    """Map `scores`, (B, G), to int32 or int64 with the same order and ties."""
    kind, sign = (np.int32, 31) if scores.dtype == np.float32 else (np.int64, 63)
    bits = (scores + scores.dtype.type(0)).view(kind)  # + 0: no negative zero
    return bits ^ ((bits >> sign) & np.iinfo(kind).max)  # reverse the order of negative floats


def _dropped(keys: np.ndarray) -> int:
    """Return the key of dropped images, which is below that of every finite number."""
    return int(np.iinfo(keys.dtype).min)


def _positions(reached: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Ranks of the correct images, (B, M) increasing, with ties counted against them.

    Args:
        reached: number of images that are at least as similar as the i-th correct one, (B, M). Of
            several equal ones this is the rank of the last; the others come right before it.
        matches: number of correct images in each row, (B,).
    """
    hits = np.arange(1, reached.shape[1] + 1)
    ahead = np.where(hits <= matches[:, None], reached - hits, np.iinfo(np.int64).max)
    return np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1] + hits


def _average_precision(position: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """AP of rows of increasing ranks (B, M), of which the first `matches` count."""
    hits = np.arange(1, position.shape[1] + 1)
    precision = np.where(hits <= matches[:, None], hits / position, 0.0)  # (B, M)
    total = precision.cumsum(axis=1)[
        :, -1
    ]  # in sequence, so that padding does not change the rounding
    return total / np.maximum(matches, 1)


def _last_penalty(position: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """INP of rows of increasing ranks (B, M), of which the first `matches` count."""
    last = np.take_along_axis(position, np.maximum(matches, 1)[:, None] - 1, axis=1)[:, 0]
    return matches / last


def _matrix(similarity: Any) -> Tensor | np.ndarray:
    scores = similarity if isinstance(similarity, Tensor) else np.asarray(similarity)
    require(
        scores.ndim == 2 and 0 not in scores.shape,
        "similarity must be (queries, gallery) with at least one of each, "
        f"not {tuple(scores.shape)}",
    )
    real = not scores.is_complex() if isinstance(scores, Tensor) else scores.dtype.kind in "biuf"
    require(real, f"similarity must hold real numbers, not {scores.dtype}")
    return scores


def _floats(scores: Tensor | np.ndarray) -> np.ndarray:
    """Return `scores` in float32 if it represents their type exactly, else in float64."""
    if isinstance(scores, Tensor):
        wide = scores.dtype == torch.float64 or not scores.is_floating_point()
        return scores.detach().to(torch.float64 if wide else torch.float32).cpu().numpy()
    wide = scores.dtype not in (np.float16, np.float32)
    return np.asarray(scores, dtype=np.float64 if wide else np.float32)


def _people(side: str, pids: Any, cams: Any, length: int, protocol: str | None) -> People:
    people = _whole(pids, length, f"{side}_pids")
    if PROTOCOLS[protocol].drop is None:
        return People(people, np.zeros_like(people))
    require(
        cams is not None,
        f"protocol {protocol!r} needs query_cams and gallery_cams for its camera rule; give both, "
        "or protocol='none'",
    )
    return People(people, _whole(cams, length, f"{side}_cams"))


def _whole(values: Any, length: int, name: str) -> np.ndarray:
    """Check that `values` are integers, and return them as (length,) int64."""
    array = np.asarray(values.tolist() if isinstance(values, Tensor) else values)
    require(
        array.shape == (length,),
        f"{name} must have shape ({length},) to match similarity, not {array.shape}",
    )
    require(array.dtype.kind in "iuf", f"{name} must be whole numbers, not {array.dtype}")
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64)
    other = array[whole != array]
    require(len(other) == 0, f"{name} must be whole numbers; among them is {other[:1]}")
    return whole
