"""From a network to a benchmark table: embeddings, trials, metrics, a record of how."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.checkpoint import versions
from dakd.data import Dataset, ImageSet
from dakd.data.lists import some
from dakd.data.records import Modality
from dakd.data.sysu import read_permutations
from dakd.embed import extract
from dakd.metrics import PROTOCOLS, RankMetrics, Unit, rank_metrics
from dakd.model import ReIDModel
from dakd.protocols import Trial, llcm_trials, open_trials, regdb_trials, sysu_trials
from dakd.reranking import k_reciprocal
from dakd.result import Result
from dakd.runtime import pick_device

RANKS = (1, 5, 10, 20)
ProtocolName = Literal["sysu", "regdb", "llcm", "llcm-released", "none"]
PROTOCOL_OF: dict[str, ProtocolName] = {  # a dataset's own protocol
    "synthetic": "sysu",
    "sysu": "sysu",
    "regdb": "regdb",
    "llcm": "llcm",
    "custom": "none",
}
_BOTH_WAYS: tuple[dict[str, Any], ...] = (
    {"query": "visible", "gallery": "infrared"},
    {"query": "infrared", "gallery": "visible"},
)
SETTINGS: dict[ProtocolName, tuple[dict[str, Any], ...]] = {  # what a paper's table shows
    "sysu": tuple({"mode": mode, "shots": n} for mode in ("all", "indoor") for n in (1, 10)),
    "regdb": _BOTH_WAYS,
    "llcm": _BOTH_WAYS,
    "llcm-released": _BOTH_WAYS,
    "none": _BOTH_WAYS,
}


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return a setting of a protocol in the name of a column or a file.

    >>> setting_name({"mode": "all", "shots": 1})
    'all-1'
    """
    return "-".join(map(str, setting.values()))


def evaluate(
    model: ReIDModel | Tensor | Callable[[], Tensor],
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
    about: Mapping[str, Any] | None = None,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
) -> Result:
    """Measure a network, or embeddings of `dataset.test`, under a benchmark's protocol.

    Similarity is the dot product of the unit-length embeddings after the batch-norm neck. Nothing
    is mirrored or re-ranked unless asked for, and the result says so either way.

    Args:
        model: a network, or its embeddings (N, D) of ``dataset.test`` (see `extract`), or a
            function that returns them, called once the request is known to be a good one.
        dataset: from `dakd.data.load_dataset`.
        protocol: ``"auto"`` is the dataset's own. ``"sysu"``, ``"regdb"``, ``"llcm"``;
            ``"llcm-released"``, what the authors' script of LLCM computes; ``"none"`` or None,
            everything against everything without rules (see `dakd.protocols` and `rank_metrics`).
        query, gallery: the direction. SYSU-MM01's protocol knows infrared -> visible alone.
        mode: ``"all"`` (cameras 1, 2, 4, 5) or ``"indoor"`` (1, 2); of ``"sysu"`` alone.
        shots: 1 (single-shot) or 10 (multi-shot); of ``"sysu"`` alone.
        sampling: ``"agw"``, or ``"official"`` (needs ``exp/rand_perm_cam.mat``); of ``"sysu"``
            alone.
        trials: number of galleries drawn by ``"sysu"`` and ``"llcm"``; ten is the protocol. The
            others draw none. RegDB's ten are ten splits: see `dakd.result.Result.join`.
        cmc_unit: ``"image"`` or ``"identity"`` instead of the protocol's own (see `rank_metrics`).
        flip: average each embedding with that of the mirrored image; where embeddings are given,
            say that they were made so.
        rerank: k-reciprocal re-ranking (see `dakd.reranking`).
        about: what else the record should say, such as which network this is.
        batch, device, precision: see `extract`.

    Raises:
        ValueError: unknown settings, settings of another protocol, embeddings that do not belong to
            the test split, or a gallery without anybody who is looked for.
    """
    if protocol == "auto":
        if dataset.name not in PROTOCOL_OF:
            raise ValueError(f"dataset {dataset.name!r} has no protocol of its own; name one")
        protocol = PROTOCOL_OF[dataset.name]
    test, where = dataset.test, pick_device(device)
    chosen: dict[str, Any] = {"mode": mode, "shots": shots, "sampling": sampling}
    sides = {"query": query, "gallery": gallery}
    drawn = _draw(protocol or "none", dataset, sides, trials, chosen)
    _refuse_strangers(test, drawn)
    if isinstance(model, ReIDModel):
        z = extract(model, test, batch=batch, device=device, precision=precision, flip=flip)
    else:
        z = (model if isinstance(model, Tensor) else model()).float()
    if len(z) != len(test):
        raise ValueError(
            f"{len(z)} embeddings given for {len(test)} test images; pass the embeddings of "
            "dataset.test"
        )
    rule = PROTOCOLS[protocol]
    unit = cmc_unit or rule.unit
    rows, counts = {}, []
    for trial in drawn:
        measured = _measure(z.to(where), test, trial, protocol, unit, rerank)
        cmc = {f"rank{k}": measured.cmc[k] for k in RANKS}
        rows[f"trial {trial.number}"] = {**cmc, "mAP": measured.mAP, "mINP": measured.mINP}
        counts.append((measured.num_queries, measured.num_valid, len(trial.gallery)))
    queries, valid, images = (
        v[0] if len({*v}) == 1 else list(v) for v in zip(*counts, strict=True)
    )
    header = {
        "dataset": dataset.name,
        "drawn": dataset.drawn,
        "data_fingerprint": dataset.fingerprint,
        "protocol": protocol or "none",
        **sides,
        **(chosen if protocol == "sysu" else dict.fromkeys(chosen)),
        "queries": queries,
        "valid_queries": valid,
        "gallery_images": images,
        "images_per_identity_and_camera": _taken(test, drawn),
        "camera_rule": rule.drops,
        "ranks_count": {"identity": "identities", "image": "images"}[unit],
        "feature": "after the neck, unit length",
        "flip": "on" if flip else "off",
        "reranking": "k-reciprocal" if rerank else "off",
        "versions": versions(),
        **(about or {}),
    }
    return Result(header, pd.DataFrame.from_dict(rows, orient="index"))


def _draw(
    protocol: str, dataset: Dataset, sides: dict[str, Any], trials: int, chosen: dict[str, Any]
) -> list[Trial]:
    """Return the trials of a protocol; refuse settings that are not its own."""
    if protocol not in PROTOCOLS:
        known = ", ".join(map(repr, filter(None, PROTOCOLS)))
        raise ValueError(f"protocol {protocol!r} cannot be evaluated; use one of {known}")
    if protocol == "sysu":
        if sides != {"query": "infrared", "gallery": "visible"}:
            raise ValueError(
                "SYSU-MM01's protocol looks for infrared queries among visible images, not "
                f"{sides['query']} -> {sides['gallery']}; use protocol='none' for that"
            )
        permutations = _permutations(dataset) if chosen["sampling"] == "official" else None
        return sysu_trials(dataset.test, trials=trials, permutations=permutations, **chosen)
    if chosen != {"mode": "all", "shots": 1, "sampling": "agw"}:
        raise ValueError(
            f"mode, shots and sampling are settings of protocol 'sysu'; {protocol!r} has none"
        )
    if protocol == "regdb":
        return regdb_trials(dataset.test, number=dataset.trial or 1, **sides)
    if protocol == "none":
        return open_trials(dataset.test, **sides)
    drawn = llcm_trials(dataset.test, trials=trials, **sides)
    if protocol == "llcm-released" and sides["query"] == "visible":
        # The script ranks the queries for every gallery image, in this direction only.
        drawn = [Trial(t.number, query=t.gallery, gallery=t.query) for t in drawn]
    return drawn


def _refuse_strangers(test: ImageSet, drawn: list[Trial]) -> None:
    for trial in drawn:
        wanted, there = np.unique(test.pids[trial.query]), np.unique(test.pids[trial.gallery])
        if not np.isin(wanted, there).any():
            raise ValueError(
                f"nobody among the queries (identities {some(wanted)}) is in the gallery of trial "
                f"{trial.number} (identities {some(there)}); check that both modalities number "
                "people alike"
            )


def _permutations(dataset: Dataset) -> Any:
    if dataset.root is None:
        raise ValueError(
            "sampling 'official' reads exp/rand_perm_cam.mat from the dataset's folder, and "
            f"{dataset.name!r} has no folder; use sampling='agw' or an exported copy"
        )
    return read_permutations(dataset.root / "exp" / "rand_perm_cam.mat")


def _measure(
    z: Tensor, test: ImageSet, trial: Trial, protocol: str | None, unit: Unit, rerank: bool
) -> RankMetrics:
    query, gallery = (z[torch.as_tensor(rows)] for rows in (trial.query, trial.gallery))
    similarity = k_reciprocal(query, gallery) if rerank else query @ gallery.T  # (Q, G)
    people = (test.pids[trial.query], test.pids[trial.gallery])
    cameras = (test.cams[trial.query], test.cams[trial.gallery])
    rule = "llcm" if protocol == "llcm-released" else protocol  # roles have changed already
    return rank_metrics(similarity, *people, *cameras, protocol=rule, ranks=RANKS, cmc_unit=unit)


def _taken(test: ImageSet, drawn: list[Trial]) -> list[int]:
    """Return the fewest and the most gallery images of an identity and camera."""
    counts = [
        np.unique([test.pids[t.gallery], test.cams[t.gallery]], axis=1, return_counts=True)[1]
        for t in drawn
    ]
    return [int(f(np.concatenate(counts))) for f in (np.min, np.max)]
