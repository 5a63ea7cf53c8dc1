"""Re-ranking with k-reciprocal neighbours: images are similar if they share neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dakd.runtime import require

K1, K2 = 20, 6  # neighbours, as published
PAIRS = 2**21  # pairs of entries processed at once, about 100 MiB


class Entries(NamedTuple):
    """The E non-zero entries of V (N, N): (E,) each, sorted by row and column."""

    row: Tensor
    column: Tensor
    value: Tensor


@torch.no_grad()
def k_reciprocal(
    query: Tensor,
    gallery: Tensor,
    *,
    k1: int = K1,
    k2: int = K2,
    weight: float = 0.3,
    chunk: int = 128,
) -> Tensor:
    """Return the similarities of queries and gallery after k-reciprocal re-ranking.

    Let d(i, j) be the squared Euclidean distance of images i and j, out of all N = Q + G, divided
    by the largest distance of image i. An image is its own nearest neighbour.

    1. R(i, k) are those of the k + 1 nearest images of i that have i among their k + 1 nearest.
       R(i, k1) is extended by R(j, k1 / 2) of each member j if it already contains more than two
       thirds of that set.
    2. V_ij is exp(-d(i, j)) for the j in this set and 0 for all others, divided by its sum.
    3. V_i becomes the mean of V over the k2 nearest images of i.
    4. With m = sum_j min(V_ij, V_kj), the Jaccard distance of i and k is 1 - m / (2 - m); the final
       distance is (1 - weight) times it plus weight times d(i, k).

    A query's result therefore depends on *all other queries* and gallery images, and a score after
    re-ranking can only be compared with other scores after re-ranking. The matrix of all distances
    is never in memory.

    Published implementations differ in two places. Some round distances to float16 to save memory,
    which makes close neighbours equal; here they keep the type of the features. Others compute no
    distances within the gallery, so that gallery images are never neighbours of each other; here
    all pairs are used.

    Args:
        query: features (Q, D), on any device.
        gallery: features (G, D), on the same device.
        k1: size of the neighbourhoods, 1..N - 1; `neighbourhood_sizes` returns one for few images.
        k2: images in the mean of step 3, 1..N; 1 disables step 3.
        weight: of the original distance, 0..1; 1 keeps the original order.
        chunk: images whose distances are in memory at once.

    Returns:
        (Q, G), the negative final distance: higher is more similar.

    Raises:
        ValueError: shapes do not match, a feature is not finite, or a number is out of range.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
    2017. The paper does not specify the scaling of the distances; it follows the authors' code.

    Example:
        Image 0 is nearer to the query, but has nearer neighbours than the query; image 1 has not:

        >>> query, gallery = torch.tensor([[0.0]]), torch.tensor([[-1.0], [1.1], [-1.2], [-1.3]])
        >>> k_reciprocal(query, gallery, k1=2, k2=1)[0, :2].argmax().item()
        1
    """
    _check(query, gallery, k1, k2, weight, chunk)
    images = torch.cat([query, gallery])  # (N, D)
    images = images if images.dtype == torch.float64 else images.float()
    near, largest = _neighbours(images, max(k1 + 1, k2), chunk)  # (N, K), (N,)
    entries = _encode(images, near[:, : k1 + 1], largest, chunk)
    entries = _mean(entries, near[:, :k2], chunk)

    similarity = images.new_empty(len(query), len(gallery))
    for rows, overlap in _overlaps(entries, len(query), len(gallery)):
        jaccard = 1 - overlap / (2 - overlap)  # (B, G)
        plain = _squared(images[rows], images[len(query) :]) / largest[rows, None]  # (B, G)
        similarity[rows] = (weight - 1) * jaccard - weight * plain
    return similarity


def neighbourhood_sizes(images: int) -> dict[str, int]:
    """Return k1 and k2 as published, or smaller if `images` (queries and gallery) are too few.

    Raises:
        ValueError: there are fewer than two images.

    >>> neighbourhood_sizes(4104), neighbourhood_sizes(12)
    ({'k1': 20, 'k2': 6}, {'k1': 11, 'k2': 6})
    """
    require(images >= 2, f"re-ranking needs a query and a gallery image, not {images} images")
    return {"k1": min(K1, images - 1), "k2": min(K2, images)}


def _check(query: Tensor, gallery: Tensor, k1: int, k2: int, weight: float, chunk: int) -> None:
    require(
        query.ndim == gallery.ndim == 2 and query.shape[1] == gallery.shape[1],
        "query and gallery must be (Q, D) and (G, D), "
        f"not {tuple(query.shape)} and {tuple(gallery.shape)}",
    )
    require(query.numel() > 0 and gallery.numel() > 0, "query or gallery is empty")
    for name, features in (("query", query), ("gallery", gallery)):
        broken = (~torch.isfinite(features).all(dim=1)).nonzero()[:, 0].tolist()
        require(not broken, f"{name} holds features that are not finite, in rows {broken[:5]}")
    images = len(query) + len(gallery)
    hint = f"with {images} images; use neighbourhood_sizes({images})"
    require(1 <= k1 < images, f"k1 must lie in 1..{images - 1}, not {k1}, {hint}")
    require(1 <= k2 <= images, f"k2 must lie in 1..{images}, not {k2}, {hint}")
    require(0 <= weight <= 1, f"weight must lie in 0..1, not {weight}")
    require(chunk >= 1, f"chunk must be at least 1, not {chunk}")


def _squared(some: Tensor, images: Tensor) -> Tensor:
    """Return squared Euclidean distances, (B, N)."""
    norms = some.square().sum(dim=1)[:, None] + images.square().sum(dim=1)
    return torch.addmm(norms, some, images.T, alpha=-2).clamp_(min=0)


def _neighbours(images: Tensor, count: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the nearest images of each (N, count), itself first, and the largest distance (N,)."""
    near, largest = [], []
    for rows in torch.arange(len(images), device=images.device).split(chunk):
        distance = _squared(images[rows], images)  # (B, N)
        largest.append(distance.amax(dim=1))
        distance.scatter_(1, rows[:, None], -1.0)
        near.append(distance.topk(count, largest=False).indices)
    tiny = torch.finfo(images.dtype).tiny  # if all images are equal
    return torch.cat(near), torch.cat(largest).clamp(min=tiny)


def _reciprocal(near: Tensor) -> Tensor:
    """Return True where an image is also among the nearest of its neighbour, (N, K)."""
    own = torch.arange(len(near), device=near.device)
    return torch.stack([(near[column] == own[:, None]).any(dim=1) for column in near.T], dim=1)


def _encode(images: Tensor, near: Tensor, largest: Tensor, chunk: int) -> Entries:
    """Return V after steps 1 and 2, for nearest images `near` (N, k1 + 1)."""
    N, K = near.shape
    half = near[:, : round((K - 1) / 2) + 1]  # (N, H)
    mutual, half_mutual = _reciprocal(near), _reciprocal(half)  # (N, K), (N, H)
    parts = []
    for rows in torch.arange(N, device=near.device).split(chunk):
        member = torch.zeros(len(rows), N + 1, dtype=torch.bool, device=near.device)
        member.scatter_(1, near[rows].where(mutual[rows], N), True)  # column N is discarded
        theirs, among = half[near[rows]], half_mutual[near[rows]]  # (B, K, H)
        shared = (member.gather(1, theirs.flatten(1)).view_as(theirs) & among).sum(dim=2)
        joins = mutual[rows] & (3 * shared > 2 * among.sum(dim=2))  # (B, K)
        member.scatter_(1, theirs.where(among & joins[..., None], N).flatten(1), True)
        row, column = member[:, :N].nonzero(as_tuple=True)
        distance = (images[rows[row]] - images[column]).square().sum(dim=1) / largest[rows[row]]
        weight = torch.exp(-distance)
        total = weight.new_zeros(len(rows)).index_add_(0, row, weight)
        parts.append((rows[row], column, weight / total[row]))
    return Entries(*map(torch.cat, zip(*parts, strict=True)))


def _mean(entries: Entries, near: Tensor, chunk: int) -> Entries:
    """Return V after step 3, for nearest images `near` (N, k2)."""
    N, k2 = near.shape
    images = torch.arange(N, device=near.device)
    begin = torch.searchsorted(entries.row, images)
    count = torch.searchsorted(entries.row, images, right=True) - begin
    parts = []
    for rows in images.split(chunk):
        nearest = near[rows].flatten()  # (B * k2,)
        source, entry = _ranges(begin[nearest], count[nearest])
        cell = source // k2 * N + entries.column[entry]
        dense = entries.value.new_zeros(len(rows) * N)
        dense = dense.index_add_(0, cell, entries.value[entry] / k2).view(len(rows), N)
        row, column = dense.nonzero(as_tuple=True)
        parts.append((rows[row], column, dense[row, column]))
    return Entries(*map(torch.cat, zip(*parts, strict=True)))


def _overlaps(entries: Entries, queries: int, gallery: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of queries (B,) and their sums of minima with the gallery (B, G).

    Each entry of a query is paired with the gallery's entries of the same column only.
    """
    ours = entries.row < queries
    row, column, value = (part[ours] for part in entries)
    theirs = (~ours).nonzero()[:, 0]
    theirs = theirs[entries.column[theirs].argsort(stable=True)]  # by column
    place, there, other = (
        entries.row[theirs] - queries,
        entries.column[theirs],
        entries.value[theirs],
    )
    begin = torch.searchsorted(there, column)
    count = torch.searchsorted(there, column, right=True) - begin
    work = torch.full((queries,), gallery, device=row.device).index_add_(0, row, count)
    pieces = (work.cumsum(0) // PAIRS).unique_consecutive(return_counts=True)[1].tolist()
    for rows in torch.arange(queries, device=row.device).split(pieces):
        mine = ((row >= rows[0]) & (row <= rows[-1])).nonzero()[:, 0]
        source, meets = _ranges(begin[mine], count[mine])
        least = torch.minimum(value[mine][source], other[meets])
        cell = (row[mine][source] - rows[0]) * gallery + place[meets]
        overlap = value.new_zeros(len(rows) * gallery).index_add_(0, cell, least)
        yield rows, overlap.view(len(rows), gallery)


def _ranges(begin: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ranges begin[i] .. begin[i] + count[i] - 1, concatenated, and i of each value."""
    source = torch.arange(len(count), device=count.device).repeat_interleave(count)
    before = count.cumsum(0) - count
    return source, begin[source] + torch.arange(len(source), device=count.device) - before[source]
