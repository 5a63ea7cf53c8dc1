"""From a network to a benchmark table: embeddings, trials, metrics, a record of how."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.data import Dataset, ImageSet
from dakd.data.duplicates import duplicates, in_words
from dakd.data.lists import some
from dakd.data.sysu import read_permutations
from dakd.evaluate.embed import extract
from dakd.evaluate.reranking import K1, K2, fitting, k_reciprocal
from dakd.evaluate.result import Result
from dakd.metrics import PROTOCOLS, People, RankMetrics, Rule, Unit, rank_metrics
from dakd.model import ReIDModel
from dakd.protocols import Modality, Trial, llcm_trials, open_trials, regdb_trials, sysu_trials
from dakd.runtime import pick_device, require, versions

RANKS = (1, 5, 10, 20)
UNIT_LENGTH = 1e-5  # how far from 1 a length may be: several times what float32 rounds
ALIKE = 1e-6  # a query's similarities that differ by less are float32's rounding, and no order
FEATURE = "after the neck, unit length"
Embeddings = Tensor | np.ndarray | Sequence[Sequence[float]]
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
    about: Mapping[str, Any] | None = None,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
) -> Result:
    """Measure a network, or embeddings of `dataset.test`, under a benchmark's protocol.

    Similarity is the dot product of the unit-length embeddings after the batch-norm neck, in
    float64. Nothing is mirrored or re-ranked unless asked for, and the result says so either way.

    Embeddings that are not of unit length (to 1e-5) are all brought to it, and the header's
    ``feature`` says so. Where a query with somebody to find has all of the gallery equally similar
    (to 1e-6), nothing is ranked: the header counts such ``queries_without_order``, and if most are,
    a warning says that the network has collapsed. Another warns of pictures that are in the dataset
    more than once (see `dakd.data.duplicates`), the header's ``repeated_pictures``; drawn pictures
    have no files to compare.

    Args:
        model: a network, or its embeddings (N, D) of ``dataset.test`` (see `extract`), or a
            function that returns them, called once the request is known to be a good one (see
            `check_request`). Embeddings are a tensor or an array of any real type, or nested lists.
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
            others draw none. RegDB's ten are ten splits: see `dakd.evaluate.result.Result.join`.
        cmc_unit: ``"image"`` or ``"identity"`` instead of the protocol's own (see `rank_metrics`).
        flip: average each embedding with that of the mirrored image; where embeddings are given,
            say that they were made so.
        rerank: k-reciprocal re-ranking (see `dakd.evaluate.reranking`). Fewer than 21 images have
            smaller neighbourhoods than published, and the header says which.
        about: what else the record should say, such as which network this is.
        batch, device, precision: see `extract`.

    Raises:
        ValueError: what `check_request` refuses, or embeddings that do not belong to the test
            split, are not finite, or are all zero for an image.
    """
    sides = {"query": query, "gallery": gallery}
    chosen: dict[str, Any] = {"mode": mode, "shots": shots, "sampling": sampling}
    request = _request(dataset, protocol, sides, chosen, trials, cmc_unit)
    test, where = dataset.test, pick_device(device)
    repeated = _repeated_pictures(dataset)
    given: Any = model
    require(
        isinstance(model, ReIDModel) or not isinstance(model, torch.nn.Module),
        f"a {type(model).__name__} is no ReIDModel; give its embeddings of dataset.test instead",
    )
    if isinstance(model, ReIDModel):
        given = extract(model, test, batch=batch, device=device, precision=precision, flip=flip)
    elif callable(model):
        given = model()
    z, feature = _unit_length(given, test)
    z = z.to("cpu" if where.type == "mps" else where)  # which knows no float64
    fit = fitting(min(len(t.query) + len(t.gallery) for t in request.trials)) if rerank else {}
    rows, counts, unranked = {}, [], 0
    for trial in request.trials:
        measured, without_order = _measure(z, test, trial, request, fit)
        cmc = {f"rank{k}": measured.cmc[k] for k in RANKS}
        rows[f"trial {trial.number}"] = {**cmc, "mAP": measured.mAP, "mINP": measured.mINP}
        counts.append((measured.num_queries, measured.num_valid, len(trial.gallery)))
        unranked = max(unranked, without_order)
    _warn_of_collapse(unranked, min(valid for _, valid, _ in counts))
    queries, valid, images = (
        v[0] if len({*v}) == 1 else list(v) for v in zip(*counts, strict=True)
    )
    header = {
        "dataset": dataset.name,
        "drawn": dataset.drawn,
        "data_fingerprint": dataset.fingerprint,
        "repeated_pictures": repeated,
        "protocol": request.protocol,
        **sides,
        "exchanged": request.exchanged,
        **(chosen if request.protocol == "sysu" else dict.fromkeys(chosen)),
        "queries": queries,
        "valid_queries": valid,
        "gallery_images": images,
        "images_per_identity_and_camera": _taken(test, request.trials),
        "camera_rule": PROTOCOLS["llcm-released"].drops
        if request.exchanged
        else request.rule.drops,
        "ranks_count": {"identity": "identities", "image": "images"}[request.unit],
        "feature": feature,
        "queries_without_order": unranked,
        "flip": "on" if flip else "off",
        "reranking": _reranking(fit),
        "versions": versions(),
        **(about or {}),
    }
    return Result(header, pd.DataFrame.from_dict(rows, orient="index"))


def check_request(
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
    device: str = "auto",
) -> None:
    """Refuse what `evaluate` would refuse of these settings, without a network and in seconds.

    Args:
        dataset: from `dakd.data.load_dataset`.
        protocol, query, gallery, mode, shots, sampling, trials, cmc_unit, device: see `evaluate`.

    Raises:
        ValueError: unknown settings, settings of another protocol, a device that does not exist, or
            a gallery without anybody who is looked for.
        FileNotFoundError: the draws of ``sampling="official"`` are missing.
    """
    pick_device(device)
    chosen = {"mode": mode, "shots": shots, "sampling": sampling}
    sides = {"query": query, "gallery": gallery}
    _request(dataset, protocol, sides, chosen, trials, cmc_unit)


class _Request(NamedTuple):
    """What is asked for, once it is known to be possible.

    Attributes:
        protocol: its name.
        rule: what happens to a ranking of the trials as they are here.
        unit: what a rank counts.
        trials: queries and gallery of each, exchanged already if they are.
        exchanged: the gallery's images look for those of the queries.
    """

    protocol: str
    rule: Rule
    unit: Unit
    trials: list[Trial]
    exchanged: bool


def _request(
    dataset: Dataset,
    protocol: str | None,
    sides: dict[str, Any],
    chosen: dict[str, Any],
    trials: int,
    cmc_unit: Unit | None,
) -> _Request:
    """Draw the trials of a protocol; see `check_request`."""
    if protocol == "auto":
        if dataset.name not in PROTOCOL_OF:
            raise ValueError(f"dataset {dataset.name!r} has no protocol of its own; name one")
        protocol = PROTOCOL_OF[dataset.name]
    require(len(dataset.test) > 0, "there is no test image; add rows or files of the test split")
    require(
        cmc_unit in ("identity", "image", None),
        f"cmc_unit must be 'identity' or 'image', not {cmc_unit!r}",
    )
    protocol = protocol or "none"
    drawn = _draw(protocol, dataset, sides, trials, chosen)
    # The script ranks the queries for every gallery image, in this direction only.
    exchanged = protocol == "llcm-released" and sides["query"] == "visible"
    if exchanged:
        drawn = [Trial(t.number, query=t.gallery, gallery=t.query) for t in drawn]
    rule = PROTOCOLS["llcm" if protocol == "llcm-released" else protocol]
    _refuse_strangers(dataset.test, drawn, rule)
    return _Request(protocol, rule, cmc_unit or rule.unit, drawn, exchanged)


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
    return llcm_trials(dataset.test, trials=trials, **sides)


def _refuse_strangers(test: ImageSet, drawn: list[Trial], rule: Rule) -> None:
    for trial in drawn:
        # Each identity and camera once, (n,) and (m,): there are few of them.
        query, gallery = (
            People(*np.unique([test.pids[rows], test.cams[rows]], axis=1))
            for rows in (trial.query, trial.gallery)
        )
        asking = People(query.pids[:, None], query.cams[:, None])
        found = asking.pids == gallery.pids  # (n, m)
        if not found.any():
            raise ValueError(
                f"nobody among the queries (identities {some(np.unique(query.pids))}) is in the "
                f"gallery of trial {trial.number} (identities {some(np.unique(gallery.pids))}); "
                "check that both modalities number people alike"
            )
        if rule.drop and not (found & ~rule.drop(asking, gallery)).any():
            raise ValueError(
                f"every right image in the gallery of trial {trial.number} is left out by the rule "
                f"{rule.drops!r}; check the numbers of the cameras, or use protocol='none'"
            )


def _permutations(dataset: Dataset) -> Any:
    if dataset.root is None:
        raise ValueError(
            "sampling 'official' reads exp/rand_perm_cam.mat from the dataset's folder, and "
            f"{dataset.name!r} has no folder; use sampling='agw' or an exported copy"
        )
    return read_permutations(dataset.root / "exp" / "rand_perm_cam.mat")


def _repeated_pictures(dataset: Dataset) -> int | None:
    """Return how many pictures a dataset has more than once, None without files; warn of them."""
    if not any(r.path for split in (dataset.train, dataset.test) for r in split.records):
        return None
    if groups := duplicates(dataset):
        warnings.warn(
            f"{len(groups):,} pictures are in the dataset {dataset.name!r} more than once: "
            f"{in_words(groups)}. Scores on them say nothing; `dakd.data.duplicates.duplicates` "
            "lists all, take them out",
            stacklevel=3,
        )
    return len(groups)


def _unit_length(given: Any, test: ImageSet) -> tuple[Tensor, str]:
    """Return embeddings (N, D) in float64 and of unit length, and what the record says of them."""
    z = _numbers(given)
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
    _refuse_rows(~largest.isfinite(), test, "not finite; the weights or the images hold NaN")
    _refuse_rows(
        largest == 0,
        test,
        "all zero and have no direction; the network has died, or they were never computed (to try "
        "settings without embeddings there is `dakd.evaluate.check_request`)",
    )
    if (torch.linalg.vector_norm(z, dim=1) - 1).abs().max() <= UNIT_LENGTH:
        return z, FEATURE
    z = z / largest  # so that no square is too large or too small
    z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z, f"{FEATURE} (given in other lengths)"


def _numbers(given: Any) -> Tensor:
    """Return a tensor, an array or nested lists as a float64 tensor, without its gradient."""
    if not isinstance(given, Tensor):
        try:
            array = np.asarray(given)
        except ValueError as error:
            raise ValueError(f"embeddings must be rows of equal length: {error}") from error
        require(
            array.dtype.kind in "biuf",
            f"embeddings must be real numbers, not {array.dtype} ({type(given).__name__})",
        )
        return torch.from_numpy(array.astype(np.float64))
    require(not given.is_complex(), f"embeddings must be real numbers, not {given.dtype}")
    return given.detach().to_dense().cpu().double()


def _refuse_rows(wrong: Tensor, test: ImageSet, what: str) -> None:
    """Refuse embeddings, (N, 1) True where they are wrong, and name the first image."""
    if len(rows := wrong.flatten().nonzero()):
        raise ValueError(
            f"{len(rows)} of {len(wrong)} embeddings are {what}. The first is that of row "
            f"{int(rows[0])}, {test.records[int(rows[0])]}"
        )


def _measure(
    z: Tensor, test: ImageSet, trial: Trial, request: _Request, fit: dict[str, int]
) -> tuple[RankMetrics, int]:
    """Return a trial's metrics, re-ranked if there is a `fit`, and its queries without order."""
    query, gallery = (
        z[torch.as_tensor(rows, device=z.device)] for rows in (trial.query, trial.gallery)
    )
    similarity = query @ gallery.T  # (Q, G)
    alike = (similarity.amax(dim=1) - similarity.amin(dim=1) < ALIKE).cpu().numpy()  # (Q,)
    people = (test.pids[trial.query], test.pids[trial.gallery])
    cameras = (test.cams[trial.query], test.cams[trial.gallery])
    alike &= np.isin(*people) & (len(gallery) > 1)
    if fit:
        similarity = k_reciprocal(query, gallery, **fit)
    protocol = "llcm" if request.protocol == "llcm-released" else request.protocol
    how: dict[str, Any] = {"protocol": protocol, "ranks": RANKS, "cmc_unit": request.unit}
    return rank_metrics(similarity, *people, *cameras, **how), int(alike.sum())


def _warn_of_collapse(unranked: int, valid: int) -> None:
    if 2 * unranked > valid:
        warnings.warn(
            f"{unranked} of {valid} queries find all images of the gallery equally similar: the "
            "network has collapsed, its embeddings are all equal or equal within a modality, and "
            "these scores say nothing. Look at the loss of its training, or at how the embeddings "
            "were made",
            stacklevel=3,
        )


def _reranking(fit: dict[str, int]) -> str:
    if not fit:
        return "off"
    few = f" with k1 = {fit['k1']} and k2 = {fit['k2']}, as there are so few images"
    return "k-reciprocal" + few * (fit != {"k1": K1, "k2": K2})


def _taken(test: ImageSet, drawn: list[Trial]) -> list[int]:
    """Return the fewest and the most gallery images of an identity and camera."""
    counts = [
        np.unique([test.pids[t.gallery], test.cams[t.gallery]], axis=1, return_counts=True)[1]
        for t in drawn
    ]
    return [int(f(np.concatenate(counts))) for f in (np.min, np.max)]
