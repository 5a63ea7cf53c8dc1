"""Evaluation of a network, or of embeddings, under a benchmark's protocol."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.data import Dataset, ImageSet
from dakd.data.duplicates import describe_duplicates, duplicates
from dakd.evaluate.embed import extract
from dakd.evaluate.request import ProtocolName, Request
from dakd.evaluate.reranking import K1, K2, k_reciprocal, neighbourhood_sizes
from dakd.evaluate.result import Result
from dakd.metrics import RankMetrics, rank_metrics
from dakd.model import ReIDModel
from dakd.protocols import PROTOCOLS, Modality, Trial, Unit
from dakd.runtime import pick_device, require, versions

RANKS = (1, 5, 10, 20)
UNIT_LENGTH = 1e-5  # tolerance of a unit length: several times the rounding of float32
MIN_RANGE = 1e-6  # similarities of a query that differ by less are equal up to float32 rounding
FEATURE = "after the neck, unit length"
Embeddings = Tensor | np.ndarray | Sequence[Sequence[float]]


def evaluate(
    model: ReIDModel | Embeddings | Callable[[], Embeddings],
    dataset: Dataset,
    *,
    protocol: ProtocolName | Literal["auto"] | None = "auto",
    query: Modality = "infrared",
    gallery: Modality = "visible",
    mode: Literal["all", "indoor"] = "all",
    shots: int = 1,
    sampling: Literal["agw", "official"] = "agw",
    trials: int = 10,
    cmc_unit: Unit | None = None,
    flip: bool = False,
    rerank: bool = False,
    metadata: Mapping[str, Any] | None = None,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
) -> Result:
    """Evaluate a network, or embeddings of `dataset.test`, under a benchmark's protocol.

    Similarity is the dot product, in float64, of the unit-length embeddings after the batch-norm
    neck. Flipping and re-ranking are off by default; the result records both.

    Embeddings that are not of unit length (to 1e-5) are all normalised, which the header's
    ``feature`` records. A query with a match whose similarities to the whole gallery are equal (to
    1e-6) has no ranking: the header counts such ``queries_without_order``, and a warning reports a
    collapsed network if they are the majority. Another warning reports images that the dataset
    contains more than once (see `dakd.data.duplicates`), the header's ``repeated_pictures``; images
    drawn in memory have no files to compare.

    Args:
        model: a network, or its embeddings (N, D) of ``dataset.test`` (see `extract`), or a
            function that returns them, called after the other arguments are checked. Embeddings
            are a tensor or an array of any real type, or nested lists.
        dataset: from `dakd.data.load_dataset`.
        protocol: ``"auto"`` is the dataset's own. ``"sysu"``, ``"regdb"``, ``"llcm"``;
            ``"llcm-released"``, the variant of LLCM's released script; ``"none"`` or None, all
            queries against the whole gallery without a camera rule (see `dakd.protocols` and
            `dakd.metrics.rank_metrics`).
        query, gallery: the direction. SYSU-MM01's protocol has infrared -> visible only.
        mode: ``"all"`` (cameras 1, 2, 4, 5) or ``"indoor"`` (1, 2); ``"sysu"`` only.
        shots: 1 (single-shot) or 10 (multi-shot); ``"sysu"`` only.
        sampling: ``"agw"``, or ``"official"`` (needs ``exp/rand_perm_cam.mat``); ``"sysu"`` only.
        trials: number of galleries drawn by ``"sysu"`` and ``"llcm"``, which prescribe 10. The
            others draw none; RegDB's ten trials are ten splits, see
            `dakd.evaluate.result.Result.join`.
        cmc_unit: ``"image"`` or ``"identity"`` instead of the protocol's own (see `rank_metrics`).
        flip: average each embedding with that of the mirrored image; for embeddings, records that
            this was done.
        rerank: k-reciprocal re-ranking (see `dakd.evaluate.reranking`). With fewer than 21 images
            the neighbourhoods are smaller than published, and the header records their sizes.
        metadata: further entries of the header, such as the name of the network.
        batch, device, precision: see `extract`.

    Raises:
        ValueError: see `dakd.evaluate.check_request`; or the embeddings do not belong to the test
            split, are not finite, or are all zero for an image.
    """
    request = Request(
        protocol=protocol, query=query, gallery=gallery, mode=mode, shots=shots,
        sampling=sampling, trials=trials, cmc_unit=cmc_unit,
    ).resolve(dataset)  # fmt: skip
    drawn = request.draw(dataset)
    test, torch_device = dataset.test, pick_device(device)
    repeated = _count_repeated_images(dataset)
    embeddings: Any = model
    require(
        isinstance(model, ReIDModel) or not isinstance(model, torch.nn.Module),
        f"a {type(model).__name__} is no ReIDModel; pass its embeddings of dataset.test instead",
    )
    if isinstance(model, ReIDModel):
        options: dict[str, Any] = {"batch": batch, "device": device, "precision": precision}
        embeddings = extract(model, test, flip=flip, **options)
    elif callable(model):
        embeddings = model()
    z, feature = _unit_length(embeddings, test)
    z = z.to("cpu" if torch_device.type == "mps" else torch_device)  # MPS has no float64
    smallest = min(len(t.query) + len(t.gallery) for t in drawn)
    sizes = neighbourhood_sizes(smallest) if rerank else {}
    rows, counts, unranked = {}, [], 0
    for trial in drawn:
        metrics, without_order = _measure(z, test, trial, request, sizes)
        cmc = {f"rank{k}": metrics.cmc[k] for k in RANKS}
        rows[f"trial {trial.number}"] = {**cmc, "mAP": metrics.mAP, "mINP": metrics.mINP}
        counts.append((metrics.num_queries, metrics.num_valid, len(trial.gallery)))
        unranked = max(unranked, without_order)
    _warn_of_collapse(unranked, min(valid for _, valid, _ in counts))
    queries, valid, images = (
        v[0] if len({*v}) == 1 else list(v) for v in zip(*counts, strict=True)
    )
    of_sysu = request.sysu_settings
    header = {
        "dataset": dataset.name,
        "drawn": dataset.drawn,
        "data_fingerprint": dataset.fingerprint,
        "repeated_pictures": repeated,
        "protocol": request.protocol,
        **request.direction,
        "exchanged": request.exchanged,
        **(of_sysu if request.protocol == "sysu" else dict.fromkeys(of_sysu)),
        "queries": queries,
        "valid_queries": valid,
        "gallery_images": images,
        "images_per_identity_and_camera": _gallery_counts(test, drawn),
        "camera_rule": PROTOCOLS["llcm-released"].drops
        if request.exchanged
        else request.rule.drops,
        "ranks_count": {"identity": "identities", "image": "images"}[request.unit],
        "feature": feature,
        "queries_without_order": unranked,
        "flip": "on" if flip else "off",
        "reranking": _reranking(sizes),
        "versions": versions(),
        **(metadata or {}),
    }
    return Result(header, pd.DataFrame.from_dict(rows, orient="index"))


def _count_repeated_images(dataset: Dataset) -> int | None:
    """Return how many images a dataset contains more than once, and warn; None without files."""
    if not any(r.path for split in (dataset.train, dataset.test) for r in split.records):
        return None
    if groups := duplicates(dataset):
        warnings.warn(
            f"{len(groups):,} images are in the dataset {dataset.name!r} more than once: "
            f"{describe_duplicates(groups)}. Scores on them are meaningless; remove the images "
            "listed by `dakd.data.duplicates.duplicates`",
            stacklevel=3,
        )
    return len(groups)


def _unit_length(embeddings: Any, test: ImageSet) -> tuple[Tensor, str]:
    """Return embeddings (N, D) in float64 and of unit length, and their ``feature`` entry."""
    z = _as_float64(embeddings)
    require(
        z.ndim == 2 and z.numel() > 0,
        f"embeddings must be (images, dimensions), not of shape {tuple(z.shape)}",
    )
    require(
        len(z) == len(test),
        f"{len(z)} embeddings given for {len(test)} test images; pass the embeddings of "
        "dataset.test",
    )
    largest = z.abs().amax(dim=1, keepdim=True)  # (N, 1)
    _check_rows(~largest.isfinite(), test, "not finite; the weights or the images hold NaN")
    _check_rows(
        largest == 0,
        test,
        "all zero and have no direction; the network is dead, or they were never computed (to "
        "check settings without embeddings, use `dakd.evaluate.check_request`)",
    )
    if (torch.linalg.vector_norm(z, dim=1) - 1).abs().max() <= UNIT_LENGTH:
        return z, FEATURE
    z = z / largest  # prevents overflow and underflow of the squares
    z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z, f"{FEATURE} (given in other lengths)"


def _as_float64(embeddings: Any) -> Tensor:
    """Return a tensor, an array or nested lists as a detached float64 tensor on the CPU."""
    if not isinstance(embeddings, Tensor):
        try:
            array = np.asarray(embeddings)
        except ValueError as error:
            raise ValueError(f"embeddings must be rows of equal length: {error}") from error
        require(
            array.dtype.kind in "biuf",
            f"embeddings must be real numbers, not {array.dtype} ({type(embeddings).__name__})",
        )
        return torch.from_numpy(array.astype(np.float64))
    require(not embeddings.is_complex(), f"embeddings must be real numbers, not {embeddings.dtype}")
    return embeddings.detach().to_dense().cpu().double()


def _check_rows(invalid: Tensor, test: ImageSet, problem: str) -> None:
    """Raise ValueError if a row is invalid, (N, 1) bool, and name the first such image."""
    if len(rows := invalid.flatten().nonzero()):
        raise ValueError(
            f"{len(rows)} of {len(invalid)} embeddings are {problem}. The first is that of row "
            f"{int(rows[0])}, {test.records[int(rows[0])]}"
        )


def _measure(
    z: Tensor, test: ImageSet, trial: Trial, request: Request, sizes: dict[str, int]
) -> tuple[RankMetrics, int]:
    """Return a trial's metrics, re-ranked if there are `sizes`, and its queries without order."""
    query, gallery = (
        z[torch.as_tensor(rows, device=z.device)] for rows in (trial.query, trial.gallery)
    )
    similarity = query @ gallery.T  # (Q, G)
    equal = (similarity.amax(dim=1) - similarity.amin(dim=1) < MIN_RANGE).cpu().numpy()  # (Q,)
    pids = (test.pids[trial.query], test.pids[trial.gallery])
    cams = (test.cams[trial.query], test.cams[trial.gallery])
    equal &= np.isin(*pids) & (len(gallery) > 1)
    if sizes:
        similarity = k_reciprocal(query, gallery, **sizes)
    arguments: dict[str, Any] = {"protocol": request.metric_protocol, "cmc_unit": request.unit}
    metrics = rank_metrics(similarity, *pids, *cams, ranks=RANKS, **arguments)
    return metrics, int(equal.sum())


def _warn_of_collapse(unranked: int, valid: int) -> None:
    if 2 * unranked > valid:
        warnings.warn(
            f"{unranked} of {valid} queries are equally similar to all gallery images: the network "
            "has collapsed (its embeddings are all equal, or equal within a modality), and these "
            "scores are meaningless. Check the training loss, or how the embeddings were computed",
            stacklevel=3,
        )


def _reranking(sizes: dict[str, int]) -> str:
    if not sizes:
        return "off"
    few = f" with k1 = {sizes['k1']} and k2 = {sizes['k2']}, as there are so few images"
    return "k-reciprocal" + few * (sizes != {"k1": K1, "k2": K2})


def _gallery_counts(test: ImageSet, drawn: list[Trial]) -> list[int]:
    """Return the smallest and largest number of gallery images per identity and camera."""
    counts = [
        np.unique([test.pids[t.gallery], test.cams[t.gallery]], axis=1, return_counts=True)[1]
        for t in drawn
    ]
    return [int(f(np.concatenate(counts))) for f in (np.min, np.max)]
