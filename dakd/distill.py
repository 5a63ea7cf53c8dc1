"""The DAKD loss: distillation at two levels, over several temperatures, with a confidence mask.

At the instance level, embeddings are distilled; at the class level, their similarities to the
teacher's class centres. `PRESETS` holds the method as described in the paper's abstract, completed
as docs/method.md explains, and as computed by the published code. Each difference between the two
is a field of `Switches`. Everything is computed in float32, also under autocast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dakd.losses import LossTerms, in_float32, weighted
from dakd.runtime import require

MODALITIES = ("visible", "infrared")
LEVELS = ("instance", "class")


class ByModality(NamedTuple):
    """One tensor for each modality: embeddings (B, D), logits (B, K), or class centres (K, D)."""

    visible: Tensor
    infrared: Tensor


def standardise(x: Tensor, eps: float = 1e-7) -> Tensor:
    """Return (x - mean) / (std + eps) over the last dimension (Sun et al., CVPR 2024).

    std is unbiased (n - 1 in the denominator). Scaling x does not change the result; constant rows
    give zeros.

    Args:
        x: (..., n), n of at least 2.
        eps: avoids division by zero in constant rows.

    Raises:
        ValueError: the last dimension has fewer than 2 entries.

    >>> standardise(torch.tensor([2.0, 4.0, 6.0]))
    tensor([-1.,  0.,  1.])
    """
    require(x.shape[-1] > 1, f"standardise needs at least 2 entries per row, not {tuple(x.shape)}")
    std, mean = torch.std_mean(x, dim=-1, keepdim=True)  # (..., 1)
    return (x - mean) / (std + eps)


@in_float32
def kd(
    student: Tensor,
    teacher: Tensor,
    temperatures: float | Sequence[float],
    *,
    standardised: bool = True,
) -> Tensor:
    """Return sum_t t^2 KL(softmax(teacher / t) || softmax(student / t)) for each sample.

    Only the student receives a gradient.

    Args:
        student, teacher: (B, n).
        temperatures: one t or several, positive.
        standardised: apply `standardise` to both first.

    Returns:
        (B,), not negative.

    >>> kd(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 9.0]]), 1.0, standardised=False)
    tensor([0.6919])
    """
    teacher = teacher.detach()
    if standardised:
        student, teacher = standardise(student), standardise(teacher)
    ts = temperatures if isinstance(temperatures, Sequence) else (temperatures,)
    log_s, log_t = (
        torch.stack([x / t for t in ts]).log_softmax(-1) for x in (student, teacher)
    )  # (T, B, n) each
    kl = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)  # (T, B)
    return torch.stack([t**2 * row for t, row in zip(ts, kl, strict=True)]).sum(0)


@in_float32
def centre_logits(z: Tensor, centres: Tensor, temperature: float = 0.05) -> Tensor:
    """Return z C^T / temperature, (B, K): similarities of embeddings (B, D) to centres C (K, D).

    Only `z` receives a gradient.
    """
    return z @ centres.detach().T / temperature


@in_float32
def confidence(logits: Tensor) -> Tensor:
    """Return the largest softmax probability of each row of logits (B, n): (B,) in 1/n..1.

    It has no gradient.
    """
    return logits.detach().softmax(-1).amax(-1)


def confidence_mask(
    conf: Tensor,
    quantile: float = 0.5,
    keep: Literal["confident", "uncertain", "none"] = "confident",
) -> Tensor:
    """Return the mask of a batch, (B,): 1 for samples that are kept, 0 for the others.

    The threshold is the batch's `quantile`, interpolated linearly. ``"confident"`` keeps ``conf >=
    threshold``, ``"uncertain"`` keeps ``conf <= threshold``. Samples equal to the threshold are
    kept, so that the median of B distinct values keeps B / 2 of an even batch and (B + 1) / 2 of an
    odd one, and at least one sample is kept if all values are finite.

    Args:
        conf: (B,), B > 0.
        quantile: in 0..1.
        keep: ``"none"`` means no mask: every sample is kept.

    Raises:
        ValueError: empty batch, quantile outside 0..1, unknown `keep`.

    >>> confidence_mask(torch.tensor([0.1, 0.9, 0.4, 0.6]))
    tensor([0., 1., 0., 1.])
    """
    require(conf.ndim == 1 and len(conf) > 0, f"conf must be (B,), B > 0, not {tuple(conf.shape)}")
    _check_mask(keep, quantile)
    if keep == "none":
        return torch.ones_like(conf)
    threshold = torch.quantile(conf, quantile)
    return (conf >= threshold if keep == "confident" else conf <= threshold).to(conf.dtype)


def _check_mask(keep: str, quantile: float) -> None:
    known = ("confident", "uncertain", "none")
    require(keep in known, f"the mask must keep one of {known}, not {keep!r}")
    require(0 <= quantile <= 1, f"quantile must lie in 0..1, not {quantile}")


@dataclass(frozen=True, kw_only=True)
class Switches:
    """Settings in which variants of `DAKDLoss` differ; the defaults are the preset ``"paper"``.

    Attributes:
        temperatures: of `kd`.
        standardised: of `kd`. Without it, the student's output is scaled to unit length first, as
            the teacher's is.
        centre_temperature: of `centre_logits`.
        mask_keep: of `confidence_mask`; ``"none"`` means no mask.
        mask_acts_on: ``"samples"``: mean(kd * mask) over all B samples, with zeros for those that
            are dropped; ``"mean"``: mean(kd) * mean(mask), which scales the term without selecting
            samples.
        masked_modalities: the modalities with a mask.
        quantile: of `confidence_mask`.
        swapped_temperatures: temperatures at which the visible terms, at both levels, are computed
            from the infrared outputs of both networks.
        instance_weight, class_weight: of the terms of both modalities at a level; 0 switches the
            level off.
        weight: of the whole sum.

    Raises:
        ValueError: a value does not exist or is out of range.
    """

    temperatures: tuple[float, ...] = (2, 3, 4, 5, 6)
    standardised: bool = True
    centre_temperature: float = 0.05
    mask_keep: Literal["confident", "uncertain", "none"] = "confident"
    mask_acts_on: Literal["samples", "mean"] = "samples"
    masked_modalities: tuple[str, ...] = ("infrared",)
    quantile: float = 0.5
    swapped_temperatures: tuple[float, ...] = ()
    instance_weight: float = 0.5
    class_weight: float = 0.5
    weight: float = 0.9

    def __post_init__(self) -> None:
        _check_mask(self.mask_keep, self.quantile)
        require(
            self.mask_acts_on in ("samples", "mean"),
            f"mask_acts_on must be 'samples' or 'mean', not {self.mask_acts_on!r}",
        )
        require(
            set(self.masked_modalities) <= set(MODALITIES),
            f"masked_modalities must be among {MODALITIES}, not {self.masked_modalities}",
        )
        require(
            bool(self.temperatures) and min(*self.temperatures, self.centre_temperature) > 0,
            f"temperatures must be positive, not {self.temperatures} and "
            f"centre_temperature {self.centre_temperature}",
        )
        amounts = (self.instance_weight, self.class_weight, self.weight)
        require(
            min(amounts) >= 0 and self.instance_weight + self.class_weight > 0,
            f"weights must not be negative and one level must stay, not {amounts}",
        )


PRESETS: Mapping[str, Switches] = {
    "paper": Switches(),
    "release": Switches(
        mask_keep="uncertain",  # the mask is confidence <= median
        mask_acts_on="mean",  # the term is averaged before the mask is applied
        swapped_temperatures=(2, 6),  # infrared tensors in the visible terms
    ),
}

ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "full_mlkd": {},
    "only_kd": {
        "class_weight": 0.0,
        "instance_weight": 1.0,
        "temperatures": (4,),
        "mask_keep": "none",
    },
    "mlkd_no_instance": {"instance_weight": 0.0},
    "mlkd_no_class": {"class_weight": 0.0},
}


class DAKDLoss(nn.Module):
    """The student's loss (Deng et al., Knowledge-Based Systems 330, 114525, 2025).

    weight * [instance_weight * (instance v + instance r) + class_weight * (class v + class r)]

    Args:
        preset: ``"paper"`` or ``"release"`` (see `PRESETS`).
        ablation: ``"full_mlkd"`` (the whole method), ``"only_kd"`` (instance level at temperature
            4, no mask, weight 1), ``"mlkd_no_instance"`` or ``"mlkd_no_class"`` (without that
            level; the other keeps its weight).
        switches: fields of `Switches`, which override preset and ablation.

    Attributes:
        switches: the resulting `Switches`.

    Raises:
        ValueError: unknown preset, ablation or switch (the message lists the known ones).

    >>> DAKDLoss("release", mask_keep="confident").switches.mask_acts_on
    'mean'
    """

    def __init__(self, preset: str = "paper", ablation: str = "full_mlkd", **switches: Any) -> None:
        super().__init__()
        _check_known("preset", [preset], PRESETS)
        _check_known("ablation", [ablation], ABLATIONS)
        _check_known("switch", switches, Switches.__dataclass_fields__)
        self.switches = replace(PRESETS[preset], **{**ABLATIONS[ablation], **switches})

    @in_float32
    def forward(self, student: ByModality, teacher: ByModality, centres: ByModality) -> LossTerms:
        """Return the loss of a batch; only the student receives gradients.

        Args:
            student: outputs of the batch-norm neck, (B, D) for each modality, of any length.
            teacher: embeddings of unit length, (B, D) for each modality.
            centres: the teacher's class centres, (K, D) for each modality.

        Returns:
            Parts ``instance_visible``, ``instance_infrared``, ``class_visible`` and
            ``class_infrared``, masked and unweighted, and their weighted sum as the total.

        Raises:
            ValueError: shapes do not fit.
        """
        _check_shapes(student, teacher, centres)
        if not self.switches.standardised:
            student = ByModality(*(F.normalize(n, dim=1) for n in student))
        parts, weights = {}, {}
        for name, mask in self.masks(teacher, centres).items():
            level, modality = name.split("_")
            samples = self._samples(level, modality, student, teacher, centres)  # (B,)
            parts[name] = self._average(samples, mask)
            weights[name] = self.switches.weight * self._level_weight(level)
        return weighted(parts, weights)

    @in_float32
    def masks(self, teacher: ByModality, centres: ByModality) -> dict[str, Tensor]:
        """Return the mask (B,) of every active term by name; see `confidence_mask`."""
        s = self.switches
        masks = {}
        for level, modality in product(LEVELS, MODALITIES):
            if self._level_weight(level):
                conf = confidence(self._inputs(level, modality, teacher, centres))  # (B,)
                keep = s.mask_keep if modality in s.masked_modalities else "none"
                masks[f"{level}_{modality}"] = confidence_mask(conf, s.quantile, keep)
        return masks

    def _level_weight(self, level: str) -> float:
        return getattr(self.switches, f"{level}_weight")

    def _inputs(self, level: str, modality: str, z: ByModality, centres: ByModality) -> Tensor:
        """Return the distilled quantity of a level: embeddings (B, D), or logits (B, K)."""
        embeddings: Tensor = getattr(z, modality)
        if level == "instance":
            return embeddings
        return centre_logits(
            embeddings, getattr(centres, modality), self.switches.centre_temperature
        )

    def _samples(
        self,
        level: str,
        modality: str,
        student: ByModality,
        teacher: ByModality,
        centres: ByModality,
    ) -> Tensor:
        """Return the unmasked term of each sample, (B,)."""
        s = self.switches
        swapped = s.swapped_temperatures if modality == "visible" else ()
        temperatures_of = {
            modality: [t for t in s.temperatures if t not in swapped],
            "infrared": [t for t in s.temperatures if t in swapped or modality == "infrared"],
        }
        values = []
        for source, temperatures in temperatures_of.items():
            if temperatures:
                own, target = (self._inputs(level, source, z, centres) for z in (student, teacher))
                values.append(kd(own, target, temperatures, standardised=s.standardised))
        return torch.stack(values).sum(0)

    def _average(self, samples: Tensor, mask: Tensor) -> Tensor:
        """Return the masked mean of a term's samples (B,)."""
        if self.switches.mask_acts_on == "mean":
            return samples.mean() * mask.mean()
        return (samples * mask).mean()


def _check_known(what: str, names: Any, known: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    require(not unknown, f"unknown {what} {unknown}; use one of {list(known)}")


def _check_shapes(student: ByModality, teacher: ByModality, centres: ByModality) -> None:
    shapes = [tuple(z.shape) for z in (*student, *teacher, *centres)]
    B, D = shapes[0] if len(shapes[0]) == 2 else (0, 0)
    fits = set(shapes[:4]) == {(B, D)} and all(len(s) == 2 and s[1] == D for s in shapes[4:])
    require(
        fits and B > 0,
        "student and teacher must be (B, D) in both modalities, B > 0, and centres (K, D); "
        f"the shapes are {shapes}",
    )
