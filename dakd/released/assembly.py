"""Build a `ReIDModel` from the tensors of a released checkpoint, and report on every key."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dakd.data.lists import some
from dakd.model import DEPTHS, ReIDModel
from dakd.protocols import Modality
from dakd.released.families import Routes, has_two_stems, route
from dakd.train.checkpoint import CheckpointError

Pooling = Literal["average", "gem"]
_COUNTER = ".num_batches_tracked"  # of batch norm: not used in eval mode
_BLOCK = re.compile(r"backbone\.layer(\d)\.non_local(\d+)\.")
_LEARNED_EPS = 1e-6
_FIXED_EPS = 1e-4  # an all-zero channel is then pooled to (1e-12) ** (1 / 3), as in AGW


@dataclass(frozen=True)
class Report:
    """How each key of a released checkpoint was used.

    Attributes:
        path: the file.
        family: ``"DAKD release"`` or ``"AGW family"``.
        stem: modality of the first layers, ``"both"``, or None when there is one stem.
        used: keys of the file whose tensors are in the network.
        ignored: keys of the file that embeddings do not need -> the reason.
        missing: keys of our network that the file lacks, all of them harmless.
        notes: choices that the file does not determine.
        classes: number of training identities, if memories or a classifier show it.
        digest: first ten hexadecimal digits of the file's SHA-256.
    """

    path: Path
    family: str
    stem: str | None
    used: tuple[str, ...]
    ignored: Mapping[str, str]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    classes: int | None
    digest: str

    def __str__(self) -> str:
        stem = f", stem: {self.stem}" if self.stem else ""
        lines = [f"{self.path.name}: {self.family}{stem}"]
        lines.append(f"  used {len(self.used)}: {some(self.used, 3)}")
        for why in dict.fromkeys(self.ignored.values()):
            keys = [key for key, reason in self.ignored.items() if reason == why]
            lines.append(f"  ignored {len(keys)} ({why}): {some(keys, 3)}")
        harmless = f" (harmless): {some(self.missing, 3)}" if self.missing else ""
        lines.append(f"  missing {len(self.missing)}{harmless}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def merged(self, other: "Report") -> "Report":
        """Return one report for two networks from a file; only keys unused by both are ignored."""
        used = dict.fromkeys(self.used + other.used)
        ignored = {key: why for key, why in self.ignored.items() if key not in used}
        return replace(self, stem=self.stem and "both", used=(*used,), ignored=ignored)


def assemble(
    tensors: dict[str, Tensor], path: Path, *, stem: Modality | None, pooling: Pooling | None
) -> tuple[ReIDModel, Report]:
    """Return the network of a state dict, in eval mode, and the report.

    The network holds the given tensors themselves, not copies. `dakd.train.checkpoint` can save it.

    Args:
        tensors: the state dict, with float32 for all floating point.
        path: its file, for messages.
        stem: the modality whose first layers are used; None means visible.
        pooling: used where the keys do not determine it.

    Raises:
        CheckpointError: keys or shapes are not those of a network that we can build.
    """
    routes = route(tensors, stem or "visible")
    state = {ours: tensors[theirs] for ours, theirs in routes.used.items()}
    kind, note = _pooling(routes.family, state, pooling, path)
    counts, widths = _non_local_blocks(state)
    learned = "pool.p" in state
    with torch.device("meta"):  # only shapes: takes no time and draws no random numbers
        model = ReIDModel(
            "resnet50",
            kind or "average",
            non_local=counts,
            non_local_width=widths,
            gem_eps=_LEARNED_EPS if learned or kind != "gem" else _FIXED_EPS,
        )
    if kind == "gem":
        state["pool.p"] = state["pool.p"].squeeze() if learned else torch.tensor(3.0)
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    _refuse_misfits(path, routes, state, wanted, missing)
    if kind is None:
        raise CheckpointError(
            f"{path} does not determine the pooling of its network; pass, as its authors trained "
            "it, pooling='average' (AGW's --method base) or pooling='gem' (exponent 3)"
        )
    state |= {key: torch.tensor(0) for key in missing}
    model.load_state_dict(state, assign=True)
    return model.eval(), Report(
        path=path,
        family=routes.family,
        stem=stem if has_two_stems(tensors) else None,
        used=tuple(routes.used.values()),
        ignored=routes.ignored,
        missing=tuple(missing),
        notes=(note,) if note else (),
        classes=_classes((tensors[key] for key in routes.training), model.embedding_dim),
        digest=_digest(path),
    )


def _non_local_blocks(state: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Return the number of non-local blocks in each stage of a ResNet-50, and their inner width.

    Args:
        state: tensors under the names of our network.

    Raises:
        CheckpointError: block numbers have gaps, or a stage has more than it has residual blocks.
    """
    found = {match.groups() for key in state if (match := _BLOCK.match(key))}
    counts, widths = [], []
    for stage, depth in enumerate(DEPTHS["resnet50"], start=1):
        numbers = sorted(int(number) for where, number in found if int(where) == stage)
        if numbers != [*range(min(len(numbers), depth))]:
            raise CheckpointError(
                f"non-local blocks {some(numbers)} do not fit stage {stage} of a ResNet-50: they "
                f"must be numbered from 0 and be at most {depth}; the architecture is another one"
            )
        bias = state.get(f"backbone.layer{stage}.non_local0.g.0.bias")
        counts.append(len(numbers))
        widths.append(1 if bias is None else bias.numel())
    return counts, widths


def _classes(rows: Iterable[Tensor], dim: int) -> int | None:
    """Return the number of identities of prototypes or a classifier (K, D), if all agree."""
    counts = {len(x) for x in rows if x.ndim == 2 and x.shape[1] == dim}
    return counts.pop() if len(counts) == 1 else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:10]


def refuse_differing_stems(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` if the first layers for visible and infrared images differ."""
    visible, infrared = (route(tensors, stem).used for stem in ("visible", "infrared"))
    differ = [
        key
        for key, theirs in visible.items()
        if not key.endswith(_COUNTER)
        and not (key in infrared and torch.equal(tensors[theirs], tensors[infrared[key]]))
    ]
    if differ:
        raise CheckpointError(
            f"{path} has different first layers for visible and infrared images ({some(differ)} "
            "differ), and our network has one stem. Use load_both_stems and extract_two_stems, or "
            "pass stem='visible' or stem='infrared' for a network that is valid for these images "
            "only"
        )


def _pooling(
    family: str, state: dict[str, Tensor], asked: Pooling | None, path: Path
) -> tuple[Pooling | None, str]:
    """Return the pooling, None if it is not determined, and a note if no key determines it."""
    if "pool.p" in state:
        if asked == "average":
            raise CheckpointError(
                f"{path} holds a pooling exponent, so pooling must not be average"
            )
        return "gem", ""
    if asked is None and family == "AGW family" and any(".non_local" in key for key in state):
        return "gem", "pooling is assumed to be gem with exponent 3, as in AGW with NL_* blocks"
    return asked, f"pooling is {asked}, as requested"


def _refuse_misfits(
    path: Path,
    routes: Routes,
    state: dict[str, Tensor],
    wanted: dict[str, Tensor],
    missing: list[str],
) -> None:
    """Raise `CheckpointError` unless the tensors are exactly those that the network needs."""
    unknown = routes.unknown + [k for ours, k in routes.used.items() if ours not in wanted]
    needed = [key for key in missing if not key.endswith(_COUNTER)]
    misshapen = [
        f"{routes.used[key]} is {_kind(state[key])} and not {_kind(x)}"
        for key, x in wanted.items()
        if key in routes.used and _kind(state[key]) != _kind(x)
    ]
    wrong = {
        "parts that our network lacks": unknown,
        "missing for our network": needed,
        "tensors of another shape or type": misshapen,
    }
    if any(wrong.values()):
        found = "; ".join(f"{what} ({len(k)}): {some(k, 3)}" for what, k in wrong.items() if k)
        raise CheckpointError(
            f"{path} is no ResNet-50 of the DAKD release or the AGW family: {found}. Nothing was "
            "loaded, because embeddings would differ from the original's; docs/released.md lists "
            "the supported files"
        )


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
