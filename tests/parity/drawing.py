"""What is drawn: batches, CutSwap; and the learning rates of all epochs. Equal, not close."""

import random

import numpy as np
import torch
from torch import Tensor

from dakd.augment import Box, CutSwap, SwapDraws
from dakd.config import StudentConfig, TeacherConfig
from dakd.data.sampler import IdentitySampler
from dakd.studies.recipes import recipe
from dakd.train.loop import learning_rate

from .kit import SAMPLERS, Kit, relative_error
from .rows import Row, Rows


def compare_samplers(kit: Kit) -> Rows:
    """Compare the rows of two epochs with those of the published sampler."""
    rows = Rows("both: IdentitySampler")
    for case in SAMPLERS:
        numbers = kit[case]
        labels = [numbers[f"labels_{modality}"] for modality in ("visible", "infrared")]
        count = len(labels[0])
        sampler = IdentitySampler(
            np.concatenate(labels),
            np.repeat([False, True], [len(of) for of in labels]),
            identities=int(numbers["P"]),
            images=int(numbers["Q"]),
            seed=int(numbers["seed"]),
        )
        what = f"batches, {case.removeprefix('sampler_').replace('_', ' ')}: two epochs"
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            visible, infrared = (np.concatenate(part) for part in zip(*sampler, strict=True))
            rows.compare(what, numbers, f"epoch{epoch}/visible", visible, 0)
            rows.compare(what, numbers, f"epoch{epoch}/infrared", infrared - count, 0)
    return rows


def compare_learning_rates(kit: Kit) -> list[Row]:
    """Compare the learning rates of all epochs, at an epoch's first and last step."""
    teacher, student, steps = Rows("MCE: adjust_learning_rate"), Rows("DAKD: train.py"), 3
    for name, config, rows in (
        ("teacher_sysu", TeacherConfig(), teacher),
        ("teacher_regdb", recipe("regdb", profile="full").teacher, teacher),
        ("student", StudentConfig(), student),
    ):
        factor = learning_rate(config, steps)
        for step in (0, steps - 1):
            ours = [config.lr * factor(int(e) * steps + step) for e in kit.rates["epoch"]]
            error = relative_error(kit.rates[name], np.array(ours))
            what = f"learning rate of all epochs: {name.replace('_', ', ')}"
            rows.add(what, [f"learning_rate: {name}"], error, 1e-12)
    return [*teacher, *student]


def compare_cutswap(kit: Kit) -> Rows:
    """Compare CutSwap as released, with draws made in the published order."""
    rows, numbers = Rows("DAKD: ChannelAug.CutSwap"), kit["cutswap"]
    x = numbers.tensor("input")
    draws = published_draws(int(numbers["seed"]), *x.shape[2:], count=len(x))
    out = CutSwap(variant="release").apply(x, draws)
    changed = (out != x).flatten(1).any(1)
    what = "CutSwap as released: images, changed or not, channel"
    rows.compare(what, numbers, "output", out, 0)
    rows.compare(what, numbers, "changed", changed, 0)
    rows.compare(what, numbers, "channel", _channel(x, out, changed), 0)
    return rows


def _channel(x: Tensor, out: Tensor, changed: Tensor) -> Tensor:
    """Return which channel of `x` all channels of `out` hold, (B,), -1 where unchanged."""
    same = (out[:, None] == x[:, :, None]).flatten(2).all(2)  # (B, 3)
    return torch.where(changed, same.byte().argmax(1), -1)


def published_draws(seed: int, height: int, width: int, *, count: int) -> SwapDraws:
    """Draw for every picture in the published order, from Python's and torch's generators."""
    random.seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def share() -> float:
        return torch.rand(1, generator=generator, dtype=torch.float64).item()

    drawn = []
    for _ in range(count):
        if share() >= 0.5:
            drawn.append((False, 0, 0, 0, 1, 1))
            continue
        channel = random.randint(0, 2)
        h, w = int(height * (share() * 0.3 + 0.3)), int(width * (share() * 0.3 + 0.3))
        drawn.append(
            (True, channel, random.randint(0, height - h), random.randint(0, width - w), h, w)
        )
    active, channel, *box = torch.tensor(drawn).unbind(1)  # six of (B,)
    return SwapDraws(active.bool(), channel, Box(*box))
