"""From the tensors of a released checkpoint to a `ReIDModel`, with an account of every key."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dakd.data.lists import some
from dakd.model import ReIDModel
from dakd.protocols import Modality
from dakd.released.blocks import blocks_of
from dakd.released.families import Routes, has_two_stems, route
from dakd.train.checkpoint import CheckpointError

Pooling = Literal["average", "gem"]
_COUNTER = ".num_batches_tracked"  # of batch norm: plays no part in eval mode
_LEARNED_EPS = 1e-6
_FIXED_EPS = 1e-4  # so that an all-zero channel is pooled to (1e-12) ** (1 / 3), as AGW does


@dataclass(frozen=True)
class Report:
    """What became of each key of a released checkpoint.

    Attributes:
        path: the file.
        family: ``"DAKD release"`` or ``"AGW family"``.
        stem: modality of the first layers, ``"both"``, or None when there is one stem.
        used: keys of the file whose tensors are in the network.
        ignored: keys of the file -> why embeddings do not need them.
        missing: keys of our network that the file has not, all of them harmless.
        notes: what was decided without the file.
        classes: number of training identities, where memories or a classifier tell it.
        digest: first ten digits of the file's SHA-256.
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

    def joined(self, other: "Report") -> "Report":
        """Return the report of two networks made from one file: ignored is what neither uses."""
        used = dict.fromkeys(self.used + other.used)
        ignored = {key: why for key, why in self.ignored.items() if key not in used}
        return replace(self, stem=self.stem and "both", used=(*used,), ignored=ignored)


def assemble(
    tensors: dict[str, Tensor], path: Path, *, stem: Modality | None, pooling: Pooling | None
) -> tuple[ReIDModel, Report]:
    """Return the network that a state dict describes, in eval mode, and the report.

    The network holds the given tensors themselves, not copies. `dakd.train.checkpoint` can save it.

    Args:
        tensors: the state dict, floating point as float32.
        path: its file, for messages.
        stem: whose first layers to take; None takes those for visible images.
        pooling: used where the keys do not tell.

    Raises:
        CheckpointError: the keys or shapes are not those of a network we can build.
    """
    routes = route(tensors, stem or "visible")
    state = {ours: tensors[theirs] for ours, theirs in routes.used.items()}
    kind, note = _pooling(routes.family, state, pooling, path)
    counts, widths = blocks_of(state)
    learned = "pool.p" in state
    with torch.device("meta"):  # shapes alone: neither time nor random numbers
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
            f"{path} does not say how its network pools; pass pooling='average' (AGW's --method "
            "base) or pooling='gem' (generalised mean with exponent 3), as its authors trained it"
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


def _classes(rows: Iterable[Tensor], dim: int) -> int | None:
    """Return how many identities prototypes or a classifier (K, D) are for, if they agree."""
    counts = {len(x) for x in rows if x.ndim == 2 and x.shape[1] == dim}
    return counts.pop() if len(counts) == 1 else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:10]


def refuse_differing_stems(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` unless visible and infrared images meet the same first layers."""
    visible, infrared = (route(tensors, stem).used for stem in ("visible", "infrared"))
    differ = [
        key
        for key, theirs in visible.items()
        if not key.endswith(_COUNTER)
        and not (key in infrared and torch.equal(tensors[theirs], tensors[infrared[key]]))
    ]
    if differ:
        raise CheckpointError(
            f"{path} holds other first layers for visible than for infrared images ({some(differ)} "
            "differ), and our network has one stem. Use load_both_stems and extract_two_stems, or "
            "pass stem='visible' or stem='infrared' for a network that is right for such images "
            "alone"
        )


def _pooling(
    family: str, state: dict[str, Tensor], asked: Pooling | None, path: Path
) -> tuple[Pooling | None, str]:
    """Return how the network pools, None if nothing tells, and what told where no key does."""
    if "pool.p" in state:
        if asked == "average":
            raise CheckpointError(
                f"{path} holds a pooling exponent, so pooling must not be average"
            )
        return "gem", ""
    if asked is None and family == "AGW family" and any(".non_local" in key for key in state):
        return "gem", "pooling is taken for gem with exponent 3, which AGW joins to its NL_* blocks"
    return asked, f"pooling is {asked}, as asked for"


def _refuse_misfits(
    path: Path,
    routes: Routes,
    state: dict[str, Tensor],
    wanted: dict[str, Tensor],
    missing: list[str],
) -> None:
    """Raise an error unless every tensor has its place and every place its tensor."""
    strange = routes.strange + [k for ours, k in routes.used.items() if ours not in wanted]
    needed = [key for key in missing if not key.endswith(_COUNTER)]
    misshapen = [
        f"{routes.used[key]} is {_kind(state[key])} and not {_kind(x)}"
        for key, x in wanted.items()
        if key in routes.used and _kind(state[key]) != _kind(x)
    ]
    wrong = {
        "parts that our network has not": strange,
        "missing for our network": needed,
        "tensors of another shape or type": misshapen,
    }
    if any(wrong.values()):
        found = "; ".join(f"{what} ({len(k)}): {some(k, 3)}" for what, k in wrong.items() if k)
        raise CheckpointError(
            f"{path} is no ResNet-50 of the DAKD release or the AGW family: {found}. Nothing is "
            "loaded, as embeddings would not be the original's; docs/released.md lists what fits"
        )


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
