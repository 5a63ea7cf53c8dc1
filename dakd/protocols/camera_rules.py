"""Which gallery images a protocol drops from the ranking of a query, and what its ranks count.

Source: Wu et al., ICCV 2017 (SYSU-MM01); Zhang and Wang, CVPR 2023 (LLCM).
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from dakd.runtime import require

Unit = Literal["identity", "image"]


Numbers = Tensor | np.ndarray | Sequence[int]


class People(NamedTuple):
    """Identities and cameras of some images: (N,) each, or (N, 1) to broadcast."""

    pids: np.ndarray
    cams: np.ndarray


class Rule(NamedTuple):
    """How a protocol ranks.

    Attributes:
        drops: the camera rule in words.
        unit: what a rank in CMC counts.
        drop: the camera rule: queries (B, 1) and gallery (G,) -> True where dropped, (B, G).
        exchanged: queries and gallery swap roles before ranking.
    """

    drops: str
    unit: Unit
    drop: Callable[[People, People], np.ndarray] | None = None
    exchanged: bool = False


def _shared_place(query: People, gallery: People) -> np.ndarray:
    return (query.cams == 3) & (gallery.cams == 2)


def _own_camera(query: People, gallery: People) -> np.ndarray:
    return (query.pids == gallery.pids) & (query.cams == gallery.cams)


_NOTHING = Rule("nothing", "image")


_LLCM = Rule("gallery images of the query's own identity and camera", "identity", _own_camera)


PROTOCOLS: dict[str | None, Rule] = {
    "sysu": Rule(
        "for a query from camera 3, every gallery image from camera 2", "identity", _shared_place
    ),
    "regdb": _NOTHING,
    "llcm": _LLCM,
    "llcm-released": _LLCM._replace(
        drops=f"{_LLCM.drops}, once queries and gallery have changed places", exchanged=True
    ),
    "none": _NOTHING,
    None: _NOTHING,
}


def camera_rule(
    query_pids: Numbers | int,
    gallery_pids: Numbers,
    query_cams: Numbers | int,
    gallery_cams: Numbers,
    *,
    protocol: str | None,
) -> np.ndarray:
    """Return which gallery images a protocol drops from the ranking of each query.

    ``"sysu"``: for a query from camera 3, every gallery image from camera 2, which sees the same
    room. ``"llcm"`` and ``"llcm-released"``: gallery images of the query's own identity *and*
    camera. ``"regdb"``, ``"none"`` and None: nothing.

    Args:
        query_pids, query_cams: identities and cameras of the queries, (Q,), or of a single query.
        gallery_pids, gallery_cams: those of the gallery, (G,).
        protocol: as in `rank_metrics`.

    Returns:
        True where dropped: (Q, G) bool, or (G,) for a single query.

    Raises:
        ValueError: an unknown protocol, or identities and cameras of different shapes.

    Source: Wu et al., ICCV 2017 (SYSU-MM01); Zhang and Wang, CVPR 2023 (LLCM).

    Example:
        >>> camera_rule([7, 7], [7, 8], [3, 6], [2, 2], protocol="sysu").tolist()
        [[True, True], [False, False]]
        >>> camera_rule(7, [7, 8, 7], 3, [3, 3, 2], protocol="llcm").tolist()
        [True, False, False]
    """
    rule = rule_of(protocol)
    query = People(*(np.asarray(values)[..., None] for values in (query_pids, query_cams)))
    gallery = People(np.asarray(gallery_pids), np.asarray(gallery_cams))
    for side, people in (("query", query), ("gallery", gallery)):
        require(
            people.pids.shape == people.cams.shape,
            f"{side}_pids and {side}_cams must have one shape, not {people.pids.shape} and "
            f"{people.cams.shape}",
        )
    if rule.drop is None:
        return np.zeros(np.broadcast_shapes(query.pids.shape, gallery.pids.shape), dtype=bool)
    return rule.drop(query, gallery)


def rule_of(protocol: str | None) -> Rule:
    """Return the rule of a protocol.

    Raises:
        ValueError: an unknown protocol.
    """
    require(protocol in PROTOCOLS, f"protocol {protocol!r} is unknown; use one of {[*PROTOCOLS]}")
    return PROTOCOLS[protocol]
