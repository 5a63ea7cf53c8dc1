"""Robustness to image corruptions: any protocol with corrupted queries, gallery, or both.

As in Chen, Wang and Zheng (NeurIPS 2021), every image draws a corruption and a severity, the
evaluation is repeated with different draws, and the mean is reported. Their cross-modal results
leave infrared images clean, which for infrared queries is ``"gallery"`` here.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.corruption import FAMILIES, SEVERITIES, mixed
from dakd.data import Dataset, ImageSet
from dakd.evaluate.embed import extract
from dakd.evaluate.evaluation import evaluate
from dakd.model import ReIDModel
from dakd.runtime import make_generator, pick_device, progress, require

Side = Literal["none", "query", "gallery", "both"]
SIDES: tuple[Side, ...] = ("none", "query", "gallery", "both")
_Block = tuple[str, Sequence[Side], int, int | None]  # family, sides, draws, severity
MEASURES = ["rank1", "mAP", "mINP"]
CHUNK = 1 << 22  # pixels corrupted at once; the draws depend on it
_EXTRACTION = ("batch", "device", "precision", "flip")  # arguments of both `extract` and `evaluate`


class _InMemory(NamedTuple):
    """Images in memory, uint8 (n, 3, H, W), as the source of an `ImageSet`."""

    pixels: Tensor

    def read(self, rows: np.ndarray) -> Tensor:
        return self.pixels[torch.as_tensor(rows, device=self.pixels.device)]


def corrupted_embeddings(
    models: Mapping[str, ReIDModel],
    images: ImageSet,
    *,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    severity: int | None = None,
    device: str = "auto",
    **arguments: Any,
) -> dict[str, Tensor]:
    """Return the embeddings (N, D) of every network for the same corrupted images.

    Args:
        models: the networks by name.
        images: the N images.
        seed: of the corruptions, which differ between CPU and GPU.
        kinds, severity: see `dakd.corruption.mixed`.
        device: of the corruptions and the networks.
        arguments: ``batch``, ``precision`` and ``flip`` of `dakd.evaluate.extract`.

    Raises:
        ValueError: a kind or the severity is unknown.
    """
    torch_device = pick_device(device)
    generator = make_generator(seed, torch_device)
    parts: dict[str, list[Tensor]] = {name: [] for name in models}
    height, width = images.images([0]).shape[-2:]
    for rows in torch.arange(len(images)).split(max(1, CHUNK // (height * width))):
        pixels = images.images(rows.numpy()).to(torch_device)  # (n, 3, H, W)
        source = _InMemory(mixed(pixels, generator, kinds=kinds, severity=severity))
        records = [images.records[row] for row in rows]
        chunk = ImageSet(records, source, keep=False, pipeline=images.pipeline)
        for name, model in models.items():
            parts[name].append(extract(model, chunk, device=device, **arguments))
    return {name: torch.cat(z) for name, z in parts.items()}


def robustness_table(
    models: Mapping[str, ReIDModel],
    dataset: Dataset,
    *,
    sides: Sequence[Side] = SIDES,
    repeats: int = 10,
    families: Sequence[str] = tuple(FAMILIES),
    severities: Sequence[int] = SEVERITIES,
    family_repeats: int = 2,
    seed: int = 0,
    show: bool = True,
    **setting: Any,
) -> pd.DataFrame:
    """Evaluate networks on the same corrupted images, by side and by family and severity.

    Trials and draws are paired in turn, the smaller number being repeated: ten trials and ten draws
    give ten pairs, three draws are cycled over ten trials, and the single trial of a protocol is
    evaluated with each of ten draws. The corruption of an image does not depend on the side.

    Args:
        models: the networks by name.
        dataset: from `dakd.data.load_dataset`.
        sides: corrupted sides (``"none"``: the same as `dakd.evaluate.evaluate`), where every image
            draws from all kinds and severities.
        repeats: number of draws for the sides.
        families, severities: evaluated in all combinations with both sides corrupted; either may be
            empty.
        family_repeats: number of draws for each combination.
        seed: of the first draw, incremented for the others; the draws are the same for all networks
            and severities.
        show: show a progress bar.
        setting: protocol, query, mode, shots, trials, device... of `dakd.evaluate.evaluate`.

    Returns:
        Columns method, where, family (``"all"`` for the sides), severity (0 for clean images,
        missing where every image draws its own), the mean over the trials of rank1, mAP and mINP as
        fractions, and their standard deviations rank1_std, mAP_std and mINP_std.

    Raises:
        ValueError: there is no network, neither sides nor families are given, a side, a family or a
            severity is unknown, a number of draws is less than 1, or see `dakd.evaluate.evaluate`.
    """
    require(len(models) > 0, "there is no network to evaluate")
    for word, given, known in (("sides", sides, SIDES), ("families", families, FAMILIES)):
        unknown = sorted(set(given) - set(known))
        require(not unknown, f"{word} {unknown} are unknown; use {', '.join(known)}")
    wrong = sorted(set(severities) - set(SEVERITIES))
    require(not wrong, f"severities must be 1 to 5, not {', '.join(map(str, wrong))}")
    blocks: list[_Block] = [("all", sides, repeats, None)] if sides else []
    blocks += [(family, ("both",), family_repeats, s) for family in families for s in severities]
    require(len(blocks) > 0, "nothing to evaluate: neither sides nor families are given")
    counts = [count for _, _, count, _ in blocks]
    require(min(counts) >= 1, f"repeats must be 1 or more, not {min(counts)}")
    benchmark, rows = _Benchmark(models, dataset, setting), []
    with progress(None, total=sum(counts), title="corruptions", show=show) as bar:
        for family, block_sides, count, severity in blocks:
            corruptions = {"kinds": FAMILIES.get(family), "severity": severity}
            results = benchmark.run(block_sides, count, seed, bar.update, **corruptions)
            for (name, where), trials in results.items():
                level = 0 if where == "none" else severity
                keys = {"method": name, "where": where, "family": family, "severity": level}
                measured = trials[MEASURES]
                std = measured.std().fillna(0.0).add_suffix("_std")  # 0 for one trial
                rows.append({**keys, **measured.mean(), **std})
    return pd.DataFrame(rows).astype({"severity": "Int64"})


class _Benchmark:
    """Networks on a dataset; the embeddings of clean images are computed once."""

    def __init__(
        self, models: Mapping[str, ReIDModel], dataset: Dataset, setting: dict[str, Any]
    ) -> None:
        self.models, self.dataset, self.setting = models, dataset, setting
        self.arguments: dict[str, Any] = {k: setting[k] for k in _EXTRACTION if k in setting}
        infrared = torch.from_numpy(dataset.test.infrared)[:, None]  # (N, 1)
        query = infrared == (setting.get("query", "infrared") == "infrared")
        gallery = infrared == (setting.get("gallery", "visible") == "infrared")
        none, both = torch.zeros_like(infrared), query | gallery
        self.rows = {"none": none, "query": query, "gallery": gallery, "both": both}

    @cached_property
    def clean(self) -> dict[str, Tensor]:
        """The embeddings of the clean images by network, (N, D)."""
        return {n: extract(m, self.dataset.test, **self.arguments) for n, m in self.models.items()}

    def run(
        self,
        sides: Sequence[Side],
        repeats: int,
        seed: int,
        tick: Callable[[], Any] = lambda: None,
        **corruptions: Any,
    ) -> dict[tuple[str, Side], pd.DataFrame]:
        """Return the trials of every network and side; `tick` is called after every draw."""
        results: dict[tuple[str, Side], list[pd.DataFrame]] = {}
        arguments = corruptions | self.arguments
        for draw in range(repeats):
            corrupted, test = self.clean, self.dataset.test
            if {*sides} != {"none"}:
                corrupted = corrupted_embeddings(self.models, test, seed=seed + draw, **arguments)
            for name, side in itertools.product(self.models, sides):
                z = torch.where(self.rows[side], corrupted[name], self.clean[name])  # (N, D)
                result = evaluate(z, self.dataset, **self.setting)
                trials = _paired(result.trials, draw, repeats)
                results.setdefault((name, side), []).append(trials)
            tick()
        return {key: pd.concat(parts) for key, parts in results.items()}


def _paired(trials: pd.DataFrame, draw: int, repeats: int) -> pd.DataFrame:
    """Return the trials that are paired with a draw (see `robustness_table`)."""
    count = len(trials)
    paired = trials.iloc[[i % count for i in range(draw, max(repeats, count), repeats)]]
    return paired.set_axis([f"{trial}, draw {draw}" for trial in paired.index])
