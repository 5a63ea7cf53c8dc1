"""From a network to a benchmark table: embeddings, trials, metrics, a record of how."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.augment import evaluation_transform
from dakd.checkpoint import versions
from dakd.data import Dataset, ImageSet
from dakd.data.sysu import read_permutations
from dakd.metrics import rank_metrics
from dakd.model import ReIDModel
from dakd.protocols import sysu_trials
from dakd.runtime import atomic_path, autocast, evaluating, pick_device

RANKS = (1, 5, 10, 20)


@torch.no_grad()
def extract(
    model: ReIDModel,
    images: ImageSet,
    *,
    rows: np.ndarray | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
) -> Tensor:
    """Return the embeddings of images, in eval mode.

    Args:
        model: the network; moved to `device`.
        images: the images.
        rows: which of them, (N,); by default all.
        transform: uint8 (n, 3, H, W) to normalised float; by default that of testing.
        batch: images a forward pass.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"float32"`` or ``"bfloat16"``.

    Returns:
        (N, D) float32 on the CPU, rows of unit length, in the order of `images`.

    Raises:
        FloatingPointError: an embedding is not finite.
    """
    where = pick_device(device)
    transform = evaluation_transform() if transform is None else transform
    rows = np.arange(len(images)) if rows is None else rows
    model.to(where)
    parts = []
    with evaluating(model), autocast(where, precision):
        for some in np.array_split(rows, max(1, -(-len(rows) // batch))):
            x = transform(images.images(some).to(where, non_blocking=True))
            parts.append(model(x.contiguous(memory_format=torch.channels_last)))
    embeddings = torch.cat(parts).float().cpu()  # (N, D)
    bad = (~embeddings.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise FloatingPointError(
            f"{len(bad)} of {len(rows)} embeddings are not finite, that of "
            f"{images.records[rows[int(bad[0])]]} first; the weights or the images hold NaN"
        )
    return embeddings


@dataclass(frozen=True, eq=False)
class Result:
    """A benchmark table and how it was made.

    Attributes:
        header: protocol, direction, mode, shots, sampling, counts, versions.
        trials: one row a trial; columns rank1, rank5, rank10, rank20, mAP, mINP as fractions.
    """

    header: dict[str, Any]
    trials: pd.DataFrame

    @property
    def mean(self) -> pd.Series:
        """Mean over the trials."""
        return self.trials.mean()

    @property
    def std(self) -> pd.Series:
        """Standard deviation over the trials (of the sample, n - 1; 0 for one trial)."""
        return self.trials.std(ddof=1).fillna(0.0)

    @property
    def table(self) -> pd.DataFrame:
        """Mean, standard deviation and every trial, in per cent."""
        summary = pd.DataFrame({"mean": self.mean, "std": self.std}).T
        return pd.concat([summary, self.trials]).mul(100)

    @property
    def title(self) -> str:
        """The header in one line."""
        h = self.header
        return (
            f"{h['dataset']} · {h['protocol']} {h['mode']}-search, {h['shots']}-shot, "
            f"{h['query']} → {h['gallery']}, sampling {h['sampling']}, {len(self.trials)} trials, "
            f"{h['valid_queries']} of {h['queries']} queries with a match, "
            f"{h['gallery_images']} gallery images{self._short}, {h['camera_rule']}, ranks count "
            f"{h['ranks_count']} · flip {h['flip']}, "
            f"re-ranking {h['reranking']}, feature {h['feature']}"
        )

    @property
    def _short(self) -> str:
        """Say so where an identity has fewer images than shots."""
        least, most = self.header["images_per_identity_and_camera"]
        if least >= self.header["shots"]:
            return ""
        count = f"{least}" if least == most else f"{least} to {most}"
        return f" (only {count} an identity and camera, there are no more)"

    def __str__(self) -> str:
        return f"{self.title}\n{self.table.round(2).to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{self.title}</p>{self.table.round(2).to_html()}"

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON, atomically; return its path."""
        record = {
            **self.header,
            "mean": self.mean.to_dict(),
            "std": self.std.to_dict(),
            "trials": self.trials.to_dict(orient="index"),
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
        return Path(path)


def evaluate(
    model: ReIDModel | Tensor,
    dataset: Dataset,
    *,
    protocol: str = "sysu",
    mode: Literal["all", "indoor"] = "all",
    shots: int = 1,
    sampling: Literal["agw", "official"] = "agw",
    trials: int = 10,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
) -> Result:
    """Measure a network, or embeddings of `dataset.test`, under the protocol of SYSU-MM01.

    Every infrared test image is a query; the gallery of each trial holds `shots` visible images
    of each identity and camera. Similarity is the dot product of the unit-length embeddings
    after the batch-norm neck; nothing is flipped or re-ranked.

    Args:
        model: a network, or its embeddings (N, D) of ``dataset.test`` (see `extract`).
        dataset: from `dakd.data.load_dataset`.
        protocol: ``"sysu"``.
        mode: ``"all"`` (cameras 1, 2, 4, 5) or ``"indoor"`` (1, 2).
        shots: 1 (single-shot) or 10 (multi-shot).
        sampling: ``"agw"`` or ``"official"`` (needs ``exp/rand_perm_cam.mat``).
        trials: number of galleries; ten is the protocol.
        batch, device, precision: see `extract`.

    Raises:
        ValueError: unknown settings, or embeddings that do not belong to the test split.
    """
    if protocol != "sysu":
        raise ValueError(f"protocol {protocol!r} cannot be evaluated; use 'sysu'")
    test = dataset.test
    permutations = None
    if sampling == "official":
        if dataset.root is None:
            raise ValueError(
                "sampling 'official' reads exp/rand_perm_cam.mat from the dataset's folder, and "
                f"{dataset.name!r} has no folder; use sampling='agw' or an exported copy"
            )
        permutations = read_permutations(dataset.root / "exp" / "rand_perm_cam.mat")
    drawn = sysu_trials(
        test, mode=mode, shots=shots, sampling=sampling, trials=trials, permutations=permutations
    )
    if isinstance(model, Tensor):
        if len(model) != len(test):
            raise ValueError(
                f"{len(model)} embeddings given for {len(test)} test images; pass the embeddings "
                "of dataset.test"
            )
        embeddings = model.float()
    else:
        embeddings = extract(model, test, batch=batch, device=device, precision=precision)
    rows, last, taken = {}, None, []
    for trial in drawn:
        query, gallery = torch.as_tensor(trial.query), torch.as_tensor(trial.gallery)
        last = rank_metrics(
            embeddings[query] @ embeddings[gallery].T,
            test.pids[trial.query],
            test.pids[trial.gallery],
            test.cams[trial.query],
            test.cams[trial.gallery],
            protocol=protocol,
            ranks=RANKS,
        )
        cell = test.pids[trial.gallery] * 1000 + test.cams[trial.gallery]  # identity and camera
        taken.append(np.unique(cell, return_counts=True)[1])
        cmc = {f"rank{k}": last.cmc[k] for k in RANKS}
        rows[f"trial {trial.number}"] = {**cmc, "mAP": last.mAP, "mINP": last.mINP}
    assert last is not None  # sysu_trials gives at least one
    header = {
        "dataset": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "protocol": protocol,
        "mode": mode,
        "shots": shots,
        "sampling": sampling,
        "query": "infrared",
        "gallery": "visible",
        "queries": last.num_queries,
        "valid_queries": last.num_valid,
        "gallery_images": len(drawn[0].gallery),
        "images_per_identity_and_camera": [int(f(np.concatenate(taken))) for f in (np.min, np.max)],
        "camera_rule": "queries of camera 3 ignore camera 2",
        "ranks_count": "identities",
        "feature": "after the neck, unit length",
        "flip": "off",
        "reranking": "off",
        "versions": versions(),
    }
    return Result(header, pd.DataFrame.from_dict(rows, orient="index"))
