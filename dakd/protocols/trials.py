"""The evaluation protocols: query and gallery images of every trial.

There is one function per protocol. Every trial draws with its own generator; the global generators
are neither read nor changed.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

QUERY_CAMS = (3, 6)
GALLERY_CAMS: dict[str, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
REPOSITORY = "https://github.com/wuancong/SYSU-MM01"
Modality = Literal["visible", "infrared"]


class TestSplit(Protocol):
    """Interface of a test split of N images, implemented by `dakd.data.ImageSet`.

    Attributes:
        pids, cams, numbers: identity, camera, and image number within identity and camera,
            (N,) int64.
        infrared: True for infrared images, (N,) bool.
    """

    @property
    def pids(self) -> np.ndarray: ...  # noqa: D102
    @property
    def cams(self) -> np.ndarray: ...  # noqa: D102
    @property
    def numbers(self) -> np.ndarray: ...  # noqa: D102
    @property
    def infrared(self) -> np.ndarray: ...  # noqa: D102
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Trial:
    """Query and gallery of one trial.

    Attributes:
        number: the protocol's number of the trial.
        query, gallery: rows of the test split, int64.
    """

    number: int
    query: np.ndarray
    gallery: np.ndarray


def sysu_trials(
    test: TestSplit,
    *,
    mode: Literal["all", "indoor"] = "all",
    shots: int = 1,
    sampling: Literal["agw", "official"] = "agw",
    trials: int = 10,
    permutations: Mapping[tuple[int, int], np.ndarray] | None = None,
) -> list[Trial]:
    """Return the trials of SYSU-MM01's protocol.

    Queries are all infrared images (cameras 3 and 6) in both modes. The gallery has `shots` images
    of each identity from each of the visible cameras 1, 2, 4 and 5 (all-search) or 1 and 2
    (indoor-search), or all images where there are fewer. In indoor-search some queries have no
    match; `dakd.metrics.rank_metrics` excludes them.

    Two samplings are in use. Their galleries share few images, so results with different samplings
    cannot be compared.

    * ``"agw"``: trial t draws with Python's ``random.Random(t)``, with identities in the outer and
      cameras in the inner loop, as AGW and its successors do (AGW itself draws single-shot
      galleries only).
    * ``"official"``: the first `shots` entries of row t of the published permutations, with cameras
      in the outer and identities in the inner loop.

    Args:
        test: the test split.
        mode: ``"all"`` or ``"indoor"``.
        shots: images per identity and camera; 1 or 10 in the literature.
        sampling: ``"agw"`` or ``"official"``.
        trials: number of trials; the protocol prescribes 10.
        permutations: from `dakd.data.sysu.read_permutations`, for ``"official"``.

    Raises:
        ValueError: an argument is unknown or out of range, the permutations are missing or belong
            to other images, or there are no queries or no gallery.

    Source: Wu et al., ICCV 2017 (protocol, official draws); Ye et al., TPAMI 2021 (AGW).
    """
    if mode not in GALLERY_CAMS:
        raise ValueError(f"mode {mode!r} is unknown; use 'all' or 'indoor'")
    if shots < 1 or trials < 1:
        raise ValueError(f"shots and trials must be at least 1, not {shots} and {trials}")
    query = np.flatnonzero(np.isin(test.cams, QUERY_CAMS) & test.infrared)
    eligible = np.isin(test.cams, GALLERY_CAMS[mode]) & ~test.infrared
    groups = _group_by_identity_and_camera(test, eligible)
    if len(query) == 0 or not groups:
        raise ValueError(
            f"{mode}-search needs infrared images of cameras {QUERY_CAMS} and visible images of "
            f"cameras {GALLERY_CAMS[mode]}; the test split has cameras {np.unique(test.cams)}"
        )
    if sampling == "agw":
        galleries = [_draw_agw(groups, shots, number) for number in range(trials)]
    elif sampling == "official":
        draws = _check_permutations(groups, permutations, trials)
        galleries = [_draw_official(groups, shots, number, draws) for number in range(trials)]
    else:
        raise ValueError(f"sampling {sampling!r} is unknown; use 'agw' or 'official'")
    return [Trial(number, query, gallery) for number, gallery in enumerate(galleries)]


def regdb_trials(
    test: TestSplit,
    *,
    query: Modality = "infrared",
    gallery: Modality = "visible",
    number: int = 1,
) -> list[Trial]:
    """Return the single trial of a RegDB test split, with all images of both modalities.

    RegDB's ten trials are ten splits of its identities, each with its own network: load each split
    with ``load_dataset("regdb", root, trial=number)`` and join the results with
    `dakd.evaluate.result.Result.join`.

    Args:
        test: the test split of one trial.
        query, gallery: the direction; both directions are reported in the literature.
        number: the trial's number, 1 to 10.

    Raises:
        ValueError: the direction is invalid, or the split lacks a modality.

    Source: Ye et al., "Hierarchical Discriminative Learning for Visible Thermal Person
    Re-Identification", AAAI 2018 (protocol).
    """
    return [Trial(number, *_rows(test, query, gallery))]


def llcm_trials(
    test: TestSplit,
    *,
    query: Modality = "infrared",
    gallery: Modality = "visible",
    trials: int = 10,
) -> list[Trial]:
    """Return the trials of LLCM's protocol.

    Queries are all test images of one modality. The gallery has one image per identity and camera
    of the other modality, drawn for trial t with Python's ``random.Random(t)``, with identities in
    the outer and cameras in the inner loop.

    For visible -> infrared, the authors' script exchanges the roles and ranks the queries for every
    gallery image. The images are the same; `dakd.metrics.rank_metrics` calls this variant
    ``"llcm-released"``.

    Args:
        test: the test split.
        query, gallery: the direction; both directions are reported, for the same network.
        trials: number of trials; the protocol prescribes 10.

    Raises:
        ValueError: the direction is invalid, the split lacks a modality, or `trials` is not
            positive.

    Source: Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality
    Benchmark for Visible-Infrared Person Re-identification", CVPR 2023, and its released code.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    queries, others = _rows(test, query, gallery)
    groups = _group_by_identity_and_camera(test, np.isin(np.arange(len(test)), others))
    return [Trial(number, queries, _draw_agw(groups, 1, number)) for number in range(trials)]


def open_trials(
    test: TestSplit, *, query: Modality = "infrared", gallery: Modality = "visible"
) -> list[Trial]:
    """Return the single trial without a protocol: all images of both modalities.

    Args:
        test: the test split.
        query, gallery: the direction.

    Raises:
        ValueError: the direction is invalid, or the split lacks a modality.
    """
    return [Trial(0, *_rows(test, query, gallery))]


def _rows(test: TestSplit, query: Modality, gallery: Modality) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the query's and of the gallery's modality."""
    if {query, gallery} != {"visible", "infrared"}:
        raise ValueError(
            f"query={query!r}, gallery={gallery!r} is no direction; one must be 'infrared' and the "
            "other 'visible'"
        )
    rows = [np.flatnonzero(test.infrared == (side == "infrared")) for side in (query, gallery)]
    for name, side, found in zip(("query", "gallery"), (query, gallery), rows, strict=True):
        if len(found) == 0:
            raise ValueError(f"{name}={side!r}, but the test split has no {side} image")
    return rows[0], rows[1]


Groups = dict[tuple[int, int], np.ndarray]  # (pid, cam) -> rows by image number


def _group_by_identity_and_camera(test: TestSplit, eligible: np.ndarray) -> Groups:
    """Return the eligible rows of each identity and camera, sorted by identity, camera, number."""
    order = np.lexsort((test.numbers, test.cams, test.pids))
    order = order[eligible[order]]
    keys = np.stack([test.pids[order], test.cams[order]], axis=1)  # (n, 2)
    cuts = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    return {
        (int(test.pids[rows[0]]), int(test.cams[rows[0]])): rows
        for rows in np.split(order, cuts)
        if len(rows)
    }


def _draw_agw(groups: Groups, shots: int, number: int) -> np.ndarray:
    draw = random.Random(number)
    gallery: list[int] = []
    for rows in groups.values():
        files = rows.tolist()
        if shots == 1:
            gallery.append(draw.choice(files))
        else:
            gallery += draw.sample(files, min(shots, len(files)))
    return np.array(gallery, dtype=np.int64)


def _draw_official(
    groups: Groups, shots: int, number: int, draws: Mapping[tuple[int, int], np.ndarray]
) -> np.ndarray:
    by_camera = sorted(groups.items(), key=lambda item: item[0][::-1])
    parts = [rows[draws[cam, pid][number, :shots] - 1] for (pid, cam), rows in by_camera]
    return np.concatenate(parts)


def _check_permutations(
    groups: Groups, permutations: Mapping[tuple[int, int], np.ndarray] | None, trials: int
) -> Mapping[tuple[int, int], np.ndarray]:
    """Return `permutations` after checking that they match these images."""
    if permutations is None:
        raise ValueError(
            "sampling='official' needs permutations=read_permutations(root / 'exp' / "
            f"'rand_perm_cam.mat'); the file is in evaluation/data_split of {REPOSITORY}. "
            "sampling='agw' needs no file"
        )
    for (pid, cam), rows in groups.items():
        shape = np.shape(permutations.get((cam, pid), np.empty((trials, 0))))
        if shape[1] != len(rows):
            raise ValueError(
                f"camera {cam}, identity {pid}: the permutations order {shape[1]} images, the test "
                f"split has {len(rows)}; a copy of the dataset with other files cannot use the "
                "official draws"
            )
        if trials > shape[0]:
            raise ValueError(f"trials={trials}, but the official draws are for {shape[0]} trials")
    return permutations
