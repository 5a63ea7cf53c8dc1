"""What corrupted images cost: any protocol of `dakd.evaluate`, with corrupted queries or galleries.

As in Chen, Wang and Zheng (NeurIPS 2021) every image draws its kind and its severity, the whole is
repeated with other draws, and the mean is reported. Their cross-modal figures leave infrared images
clean; here the caller chooses the side (for infrared queries, ``"gallery"`` is what they measure).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.corruption import FAMILIES, KINDS, SEVERITIES, mixed
from dakd.data import Dataset, ImageSet
from dakd.evaluate.embed import extract
from dakd.evaluate.evaluation import evaluate
from dakd.evaluate.result import Result
from dakd.model import ReIDModel
from dakd.runtime import make_generator, pick_device, progress, require

Side = Literal["none", "query", "gallery", "both"]
SIDES: tuple[Side, ...] = ("none", "query", "gallery", "both")
_Cell = tuple[str, Sequence[Side], int, int | None]  # family, sides, draws, severity
MEASURES = ["rank1", "mAP", "mINP"]
CHUNK = 1 << 22  # pixels corrupted together; another number would be other draws
_EXTRACTION = ("batch", "device", "precision", "flip")  # what `extract` shares with `evaluate`


class _Held(NamedTuple):
    """Pictures in memory, uint8 (n, 3, H, W), as the source of an `ImageSet`."""

    pictures: Tensor

    def read(self, rows: np.ndarray) -> Tensor:
        return self.pictures[torch.as_tensor(rows, device=self.pictures.device)]


def corrupted_embeddings(
    models: Mapping[str, ReIDModel],
    images: ImageSet,
    *,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    severity: int | None = None,
    device: str = "auto",
    **how: Any,
) -> dict[str, Tensor]:
    """Return every network's embeddings (N, D) of the same corrupted images.

    Args:
        models: the networks by name.
        images: the images; N of them.
        seed: of the corruptions. A GPU draws others than the CPU.
        kinds, severity: see `dakd.corruption.mixed`.
        device: where images are corrupted and networks run.
        how: ``batch``, ``precision`` and ``flip`` of `dakd.evaluate.extract`.

    Raises:
        ValueError: an unknown kind or severity.
    """
    where = pick_device(device)
    generator = make_generator(seed, where)
    parts: dict[str, list[Tensor]] = {name: [] for name in models}
    for rows in _chunks(images):
        pictures = images.images(rows).to(where)
        held = _Held(mixed(pictures, generator, kinds=kinds, severity=severity))
        records = [images.records[row] for row in rows]
        some = ImageSet(records, held, keep=False, pipeline=images.pipeline)
        for name, model in models.items():
            parts[name].append(extract(model, some, device=device, **how))
    return {name: torch.cat(found) for name, found in parts.items()}


def _chunks(images: ImageSet) -> Iterator[np.ndarray]:
    """Yield row numbers, `CHUNK` pixels at a time."""
    height, width = images.images([0]).shape[-2:]
    size = max(1, CHUNK // (height * width))
    for start in range(0, len(images), size):
        yield np.arange(start, min(start + size, len(images)))


def corrupted_evaluation(
    model: ReIDModel,
    dataset: Dataset,
    *,
    where: Side = "both",
    repeats: int = 10,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    severity: int | None = None,
    **setting: Any,
) -> Result:
    """Measure a network on corrupted images of the test split.

    Draw r meets trial t where t = r, counted modulo the number of either: ten draws and ten trials
    make ten pairs, three draws serve ten trials in turn, ten draws meet the one trial of a protocol
    that has no more. An image is corrupted alike whichever side is asked for.

    Args:
        model: the network.
        dataset: from `dakd.data.load_dataset`.
        where: which side is corrupted; ``"none"`` gives what `evaluate` gives.
        repeats: number of draws.
        seed: of the first draw; the others count on.
        kinds, severity: see `dakd.corruption.mixed`.
        setting: of `dakd.evaluate.evaluate`: protocol, query, mode, shots, trials, device...

    Raises:
        ValueError: an unknown side, kind or severity, no repeat, or what `evaluate` refuses.
    """
    _check((where,), repeats, kinds, severity)
    bench = _Bench({"": model}, dataset, setting)
    return bench.measure((where,), repeats, seed, kinds, severity)["", where]


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
    """Measure several networks on the same corrupted images: by side, by family and severity.

    Args:
        models: the networks by name.
        dataset: from `dakd.data.load_dataset`.
        sides: rows for these sides, where every image draws from all kinds and severities.
        repeats: draws for them.
        families, severities: rows for these, both sides corrupted; either may be empty.
        family_repeats: draws for each of them.
        seed: of the first draw; the same draws serve every network and severity.
        show: show a progress bar.
        setting: see `corrupted_evaluation`.

    Returns:
        Columns method, where, family (``"all"`` for the sides), severity (0 for clean images,
        missing where every image draws its own), the mean over the trials of rank1, mAP and mINP as
        fractions, and their standard deviations rank1_std, mAP_std and mINP_std.

    Raises:
        ValueError: no network, no row, an unknown family, or as `corrupted_evaluation`.
    """
    require(len(models) > 0, "there is no network to measure")
    unknown = sorted(set(families) - set(FAMILIES))
    require(not unknown, f"families {unknown} are unknown; use {', '.join(FAMILIES)}")
    cells: list[_Cell] = [("all", sides, repeats, None)] if sides else []
    cells += [(family, ("both",), family_repeats, s) for family in families for s in severities]
    require(len(cells) > 0, "there is nothing to measure: neither sides nor families are given")
    for family, some, count, severity in cells:
        _check(some, count, FAMILIES.get(family), severity)
    bench, rows = _Bench(models, dataset, setting), []
    total = sum(count for _, _, count, _ in cells)
    with progress(None, total=total, title="corruptions", show=show) as bar:
        for family, some, count, severity in cells:
            kinds = FAMILIES.get(family)
            results = bench.measure(some, count, seed, kinds, severity, bar.update)
            for (name, where), result in results.items():
                level = 0 if where == "none" else severity
                cell = {"method": name, "where": where, "family": family, "severity": level}
                spread = result.std[MEASURES].add_suffix("_std")
                rows.append({**cell, **result.mean[MEASURES], **spread})
    return pd.DataFrame(rows).astype({"severity": "Int64"})


def _check(
    sides: Sequence[str], repeats: int, kinds: Sequence[str] | None, severity: int | None
) -> None:
    """Refuse what cannot be measured before anything is computed."""
    unknown = [side for side in sides if side not in SIDES]
    require(not unknown, f"side {unknown[:1]} is unknown; corrupt one of {', '.join(SIDES)}")
    require(repeats >= 1, f"repeats must be 1 or more, not {repeats}")
    nothing = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    mixed(nothing, make_generator(0), kinds=kinds, severity=severity)


class _Bench:
    """Networks on a dataset; what they make of the clean images is computed once."""

    def __init__(
        self, models: Mapping[str, ReIDModel], dataset: Dataset, setting: dict[str, Any]
    ) -> None:
        self.models, self.dataset, self.setting = models, dataset, setting
        self.how: dict[str, Any] = {k: setting[k] for k in _EXTRACTION if k in setting}
        query, gallery = (
            torch.from_numpy(dataset.test.infrared == (modality == "infrared"))[:, None]  # (N, 1)
            for modality in (setting.get("query", "infrared"), setting.get("gallery", "visible"))
        )
        both = query | gallery
        self.rows = {"none": ~both & both, "query": query, "gallery": gallery, "both": both}

    @cached_property
    def clean(self) -> dict[str, Tensor]:
        """Every network's embeddings of the clean images, (N, D)."""
        return {n: extract(m, self.dataset.test, **self.how) for n, m in self.models.items()}

    def measure(
        self,
        sides: Sequence[Side],
        repeats: int,
        seed: int,
        kinds: Sequence[str] | None,
        severity: int | None,
        tick: Callable[[], Any] = lambda: None,
    ) -> dict[tuple[str, Side], Result]:
        """Return the result of every network and side; `tick` is called after every draw."""
        found: dict[tuple[str, Side], list[Result]] = {}
        how = {"kinds": kinds, "severity": severity, **self.how}
        for draw in range(repeats):
            z = self.clean
            if {*sides} != {"none"}:
                z = corrupted_embeddings(self.models, self.dataset.test, seed=seed + draw, **how)
            for name, side in itertools.product(self.models, sides):
                chosen = torch.where(self.rows[side], z[name], self.clean[name])  # (N, D)
                result = evaluate(chosen, self.dataset, **self.setting)
                trials = _share(result.trials, draw, repeats)
                found.setdefault((name, side), []).append(Result(result.header, trials))
            tick()
        made = {"kinds": [*(kinds or KINDS)], "severity": severity, "draws": repeats, "seed": seed}
        return {
            (name, side): Result(
                {**parts[0].header, "corrupted": side, "corruption": made},
                pd.concat([part.trials for part in parts]),
            )
            for (name, side), parts in found.items()
        }


def _share(trials: pd.DataFrame, draw: int, repeats: int) -> pd.DataFrame:
    """Return the trials that meet a draw: the numbers equal to it, modulo either's count.

    >>> three = pd.DataFrame({"rank1": [0.1, 0.2, 0.3]}, index=["trial 0", "trial 1", "trial 2"])
    >>> list(_share(three, draw=0, repeats=2).index), list(_share(three, draw=1, repeats=2).index)
    (['trial 0, draw 0', 'trial 2, draw 0'], ['trial 1, draw 1'])
    """
    count = len(trials)
    own = trials.iloc[[i % count for i in range(draw, max(repeats, count), repeats)]]
    return own.set_axis([f"{trial}, draw {draw}" for trial in own.index])
