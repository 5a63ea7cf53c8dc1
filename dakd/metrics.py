"""CMC, mAP and mINP of a ranking, with the camera rules of the VI-ReID protocols.

Each query ranks the gallery by falling similarity; equal similarities keep gallery order. After
the protocol's camera rule has dropped gallery images, let r_1 < ... < r_m be the ranks, from 1, of
the m images of the query's identity. Then

* AP = (1/m) sum_i i / r_i, the mean precision at the correct images (no interpolation);
* INP = m / r_m, the effort to find the last one;
* CMC@k is the fraction of queries with a first match of rank k or better.

mAP, mINP and CMC are means over the queries with m > 0; the others are left out. A rank in CMC
counts *images*, or *identities*: only the best image of every identity stays in the list. Rank 1 is
the same either way.

Source: Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021
(mINP); Wu et al., ICCV 2017 (the rules of SYSU-MM01).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

Unit = Literal["identity", "image"]

# protocol -> (what the camera rule drops, what a rank in CMC counts)
PROTOCOLS: dict[str | None, tuple[str, Unit]] = {
    "sysu": ("for a query from camera 3, every gallery image from camera 2", "identity"),
    "regdb": ("nothing", "image"),
    "llcm": ("gallery images of the query's own identity and camera", "identity"),
    None: ("nothing", "image"),
}


@dataclass(frozen=True)
class RankMetrics:
    """What `rank_metrics` returns.

    Attributes:
        cmc: rank -> fraction of the valid queries, 0..1.
        mAP, mINP: 0..1, means over the valid queries.
        num_valid: queries with a correct gallery image after the camera rule.
        num_queries: all queries.
        per_query: a row a query: ``rank`` of the first match (in the unit of the CMC), ``AP``,
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
    query_pids: Tensor | np.ndarray | Sequence[int],
    gallery_pids: Tensor | np.ndarray | Sequence[int],
    query_cams: Tensor | np.ndarray | Sequence[int] | None = None,
    gallery_cams: Tensor | np.ndarray | Sequence[int] | None = None,
    *,
    protocol: str | None = None,
    ranks: Sequence[int] = (1, 5, 10, 20),
    cmc_unit: Unit | None = None,
    chunk: int | None = None,
) -> RankMetrics:
    """Measure how well `similarity` ranks the gallery for every query.

    ``"sysu"`` drops, for queries from camera 3, all gallery images from camera 2 (both look at the
    same place). ``"llcm"`` drops gallery images of the query's own identity *and* camera.
    ``"regdb"`` and None drop nothing. CMC counts identities under ``"sysu"`` and ``"llcm"``, images
    under ``"regdb"`` and None. On RegDB published code disagrees: AGW's counts images, MPANet's
    identities (``cmc_unit="identity"``), which gives the higher rank-5, 10 and 20; rank-1, mAP and
    mINP do not depend on it.

    Args:
        similarity: (Q, G), higher is more alike; a tensor on any device or an array.
        query_pids, gallery_pids: identities, (Q,) and (G,).
        query_cams, gallery_cams: cameras, (Q,) and (G,); needed by ``"sysu"`` and ``"llcm"``.
        protocol: ``"sysu"``, ``"regdb"``, ``"llcm"`` or None.
        ranks: the k of CMC@k.
        cmc_unit: ``"identity"`` or ``"image"`` instead of the protocol's own.
        chunk: queries handled at once; None is as many as a few ten MiB hold.

    Raises:
        ValueError: an argument does not fit, a similarity is not finite, or no query has a match.

    Example:
        The only match of query 7 is third in line, behind two images of identity 8:

        >>> scores = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
        >>> result = rank_metrics(scores, [7, 8], [8, 8, 7], ranks=(1, 2))
        >>> result.cmc, round(result.mAP, 3), result.mINP
        ({1: 0.5, 2: 0.5}, 0.667, 0.6666666666666666)
        >>> rank_metrics(scores, [7, 8], [8, 8, 7], ranks=(1, 2), cmc_unit="identity").cmc
        {1: 0.5, 2: 1.0}
    """
    task = _Task(similarity, query_pids, gallery_pids, query_cams, gallery_cams, protocol)
    unit = cmc_unit or PROTOCOLS[protocol][1]
    if unit not in ("identity", "image"):
        raise ValueError(f"cmc_unit must be 'identity' or 'image', not {cmc_unit!r}")
    if len(ranks) == 0 or any(int(k) != k or k < 1 for k in ranks):
        raise ValueError(f"ranks must be one or more whole numbers from 1, not {ranks!r}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")

    parts = [_score(*piece, unit) for piece in task.pieces(chunk or task.chunk)]
    first, ap, inp, matches = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    valid = matches > 0
    if not valid.any():
        raise ValueError(task.no_match())
    return RankMetrics(
        cmc={int(k): float((first[valid] <= k).mean()) for k in ranks},
        mAP=float(ap[valid].mean()),
        mINP=float(inp[valid].mean()),
        num_valid=int(valid.sum()),
        num_queries=len(valid),
        per_query=pd.DataFrame({"rank": first, "AP": ap, "INP": inp, "matches": matches}),
    )


def _score(
    scores: Tensor, own: Tensor, classes: Tensor, num_classes: int, unit: Unit
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rank of the first match, AP, INP and the number of matches of a few queries, (B,) each.

    Args:
        scores: (B, G), with dropped gallery images at minus infinity.
        own: columns of the query's identity in gallery order, (B, M), padded with G.
        classes: identity index of every gallery image, (G,).
        num_classes: how many identity indices there are.
        unit: what the rank of the first match counts.
    """
    padded = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf)  # (B, G + 1)
    own_scores = padded.gather(1, own)  # (B, M)
    correct = own_scores > -torch.inf  # (B, M)
    matches = correct.sum(1)  # (B,)
    found = matches > 0

    position = _positions(scores, own, own_scores)  # (B, M), from 1, G + 1 where not correct
    position, order = position.sort(dim=1)
    hits = torch.arange(1, own.shape[1] + 1, device=own.device)  # (M,)
    precision = torch.where(hits <= matches[:, None], hits.double() / position, 0.0)  # (B, M)
    nan = torch.full_like(precision[:, 0], torch.nan)
    last = position.gather(1, (matches[:, None] - 1).clamp(min=0))[:, 0]  # (B,)
    ap = torch.where(found, precision.sum(1) / matches, nan)
    inp = torch.where(found, matches.double() / last, nan)

    first = position[:, 0]  # (B,)
    if unit == "identity":
        column = own.gather(1, order[:, :1])  # (B, 1), the first match
        best = padded.gather(1, column)
        ahead = scores > best  # (B, G)
        ahead |= (scores == best) & (torch.arange(len(classes), device=own.device) < column)
        rows, columns = (ahead & found[:, None]).nonzero(as_tuple=True)
        seen = torch.zeros(len(scores), num_classes, dtype=torch.bool, device=own.device)
        seen[rows, classes[columns]] = True
        first = seen.sum(1) + 1
    return torch.where(found, first.double(), nan), ap, inp, matches


def _positions(scores: Tensor, own: Tensor, own_scores: Tensor) -> Tensor:
    """Ranks from 1 of the columns `own` (B, M) in rows of `scores` (B, G); G + 1 for dropped ones.

    One sort of values a row, then a binary search for each match. Only rows in which a match ties
    with another image need the slower sort that knows where every value came from.
    """
    total = scores.shape[1]
    ordered = _sorted(scores)  # (B, G), rising
    upper = torch.searchsorted(ordered, own_scores, right=True)  # (B, M)
    lower = torch.searchsorted(ordered, own_scores)
    correct = own_scores > -torch.inf
    position = torch.where(correct, total - upper + 1, total + 1)
    tied = ((upper - lower > 1) & correct).any(1)  # (B,)
    if tied.any():
        falling = scores[tied].sort(dim=1, descending=True, stable=True).indices
        place = torch.empty_like(falling).scatter_(
            1, falling, torch.arange(1, total + 1, device=own.device).expand_as(falling)
        )
        exact = place.gather(1, own[tied].clamp(max=total - 1))
        position[tied] = torch.where(correct[tied], exact, total + 1)
    return position


def _sorted(scores: Tensor) -> Tensor:
    """Values of each row in rising order; on the CPU NumPy's vectorised sort is the faster."""
    if scores.device.type == "cpu":
        return torch.from_numpy(np.sort(scores.numpy(), axis=1))
    return scores.sort(dim=1).values


class _Task:
    """Checked arguments of `rank_metrics`, cut into pieces of a few queries."""

    def __init__(
        self,
        similarity: Any,
        query_pids: Any,
        gallery_pids: Any,
        query_cams: Any,
        gallery_cams: Any,
        protocol: str | None,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is unknown; use one of {list(PROTOCOLS)}")
        self.similarity = similarity if isinstance(similarity, Tensor) else np.asarray(similarity)
        if self.similarity.ndim != 2 or 0 in self.similarity.shape:
            raise ValueError(
                "similarity must be (queries, gallery) with at least one of each, "
                f"not {tuple(self.similarity.shape)}"
            )
        queries, gallery = self.similarity.shape
        self.protocol = protocol
        self.query_pids = _column(query_pids, queries, "query_pids")
        self.gallery_pids = _column(gallery_pids, gallery, "gallery_pids")
        self.query_cams = self.gallery_cams = None
        if protocol in ("sysu", "llcm"):
            if query_cams is None or gallery_cams is None:
                raise ValueError(
                    f"protocol {protocol!r} needs query_cams and gallery_cams for its camera rule; "
                    "give both, or protocol=None"
                )
            self.query_cams = _column(query_cams, queries, "query_cams")
            self.gallery_cams = _column(gallery_cams, gallery, "gallery_cams")
        self.chunk = max(1, 2**21 // gallery)

    def pieces(self, chunk: int) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        """Yield scores, own columns, gallery classes and their number (see `_score`)."""
        gallery = len(self.gallery_pids)
        names, classes = np.unique(self.gallery_pids, return_inverse=True)  # (K,), (G,)
        grouped = np.argsort(classes, kind="stable")  # (G,), columns of class 0, then of class 1
        begin = np.searchsorted(self.gallery_pids[grouped], self.query_pids)  # (Q,)
        end = np.searchsorted(self.gallery_pids[grouped], self.query_pids, side="right")
        for start in range(0, len(self.query_pids), chunk):
            rows = slice(start, start + chunk)
            scores = self._scores(rows)
            column = begin[rows, None] + np.arange(max(1, (end - begin)[rows].max()))  # (B, M)
            inside = column < end[rows, None]
            own = np.where(inside, grouped[np.minimum(column, gallery - 1)], gallery)
            to = scores.device
            yield scores, torch.from_numpy(own).to(to), torch.from_numpy(classes).to(to), len(names)

    def _scores(self, rows: slice) -> Tensor:
        part = self.similarity[rows]
        if isinstance(part, np.ndarray):
            small = part.dtype in (np.float16, np.float32)
            part = torch.from_numpy(np.array(part, dtype=np.float32 if small else np.float64))
        part = part.detach().contiguous()
        if part.dtype not in (torch.float32, torch.float64):
            part = part.float() if part.is_floating_point() else part.double()
        if not torch.isfinite(part).all():
            row, column = (~torch.isfinite(part)).nonzero()[0].tolist()
            raise ValueError(
                f"similarity[{rows.start + row}, {column}] is {part[row, column].item()}; look for "
                "features that are not finite or have zero length before they are normalised"
            )
        dropped = self._dropped(rows)
        if dropped is None:
            return part
        return part.masked_fill(torch.from_numpy(dropped).to(part.device), -torch.inf)  # (B, G)

    def _dropped(self, rows: slice) -> np.ndarray | None:
        """The camera rule: True where a gallery image is dropped, (B, G)."""
        if self.query_cams is None or self.gallery_cams is None:
            return None
        query_cams = self.query_cams[rows, None]
        if self.protocol == "sysu":
            return (query_cams == 3) & (self.gallery_cams == 2)
        same_pid = self.query_pids[rows, None] == self.gallery_pids
        return same_pid & (query_cams == self.gallery_cams)

    def no_match(self) -> str:
        some = ", ".join(map(str, np.unique(self.query_pids)[:8]))
        have = ", ".join(map(str, np.unique(self.gallery_pids)[:8]))
        return (
            f"no query has an image of its identity in the gallery: queries show {some} ..., the "
            f"gallery {have} ...; rule of protocol {self.protocol!r}: it drops "
            f"{PROTOCOLS[self.protocol][0]}. Check that both sides number identities alike"
        )


def _column(values: Any, length: int, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.shape != (length,):
        raise ValueError(
            f"{name} must have shape ({length},) to match similarity, not {array.shape}"
        )
    return array
