"""Everything that changes from step to step of a training, saved and restored."""

from typing import Any

import torch

from dakd.config import ScheduleConfig
from dakd.data.lists import some
from dakd.data.sampler import CrossModalSampler
from dakd.model import ReIDModel
from dakd.runtime import require
from dakd.train.objective import Objective
from dakd.train.selection import Best
from dakd.train.snapshot import Snapshot


class TrainState:
    """A network, its objective and optimiser, and how far the training is.

    Args:
        model: the network that learns; moved to the objective's device.
        objective: its loss.
        config: batches and optimiser.
        stage: number of the stage, from 0; a teacher can have two, one after the other.
        first_epoch: number of the first epoch. It seeds the batches, so a second stage starts where
            the first ended.
        best: chooses the epoch whose weights are reported.
        sampler: of the batches; by default the configured one.

    Attributes:
        epoch, step: of the next step; `step` counts within the epoch.
        last_epoch: where the training ends, exclusive.
    """

    def __init__(
        self,
        model: ReIDModel,
        objective: Objective,
        config: ScheduleConfig,
        *,
        stage: int = 0,
        first_epoch: int = 0,
        best: Best | None = None,
        sampler: CrossModalSampler | None = None,
    ) -> None:
        self.model, self.objective, self.config, self.best = model, objective, config, best
        self.sampler = sampler
        self.stage = stage
        self.epoch, self.step = first_epoch, 0
        self.last_epoch = first_epoch + config.epochs
        where = {"device": objective.device, "dtype": objective.dtype}
        model.to(**where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learned = [p for p in model.parameters() if p.requires_grad] + objective.parameters()
        self.optimiser = torch.optim.Adam(
            learned,
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True if objective.device.type == "cuda" else None,
        )

    def state_dict(self) -> Snapshot:
        """Return the whole state: tensors by name, and the position as metadata."""
        objective = self.objective
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"memory.{k}": v for k, v in objective.memories().items()}
        tensors |= {f"learned.{i}": p for i, p in enumerate(objective.parameters())}
        for number, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in values.items()}
        tensors["generator"] = objective.generator.get_state()
        metadata: dict[str, Any] = {"stage": self.stage, "epoch": self.epoch, "step": self.step}
        if self.best and self.best.state:
            tensors |= {f"best.{k}": v for k, v in self.best.state.items()}
            metadata["best"] = {"epoch": self.best.epoch, "value": self.best.value}
        return Snapshot(tensors, metadata)

    def check(self, snapshot: Snapshot) -> None:
        """Raise unless `snapshot` has the tensors of this state; nothing is changed.

        Raises:
            ValueError: a tensor is missing, unexpected, or of another shape or type.
        """
        found = {k: (v.shape, v.dtype) for k, v in snapshot.tensors.items()}
        wanted = {k: (v.shape, v.dtype) for k, v in self.state_dict().tensors.items()}
        if "best" in snapshot.metadata:
            wanted |= {f"best.{k}": (v.shape, v.dtype) for k, v in self.model.state_dict().items()}
        learned = [p for group in self.optimiser.param_groups for p in group["params"]]
        for number, parameter in enumerate(learned):
            if any(name.startswith(f"optimiser.{number}.") for name in found):
                wanted[f"optimiser.{number}.step"] = (torch.Size(), torch.float32)
                for moment in ("exp_avg", "exp_avg_sq"):
                    wanted[f"optimiser.{number}.{moment}"] = (parameter.shape, parameter.dtype)
        differ = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
        require(not differ, f"it differs from this training in {some(differ, 3)}")

    @torch.no_grad()
    def load_state_dict(self, snapshot: Snapshot) -> None:
        """Restore what `state_dict` returned."""
        objective, metadata = self.objective, snapshot.metadata
        parts: dict[str, dict[str, Any]] = {}
        for name, value in snapshot.tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        self.model.load_state_dict(parts["model"])
        for name, value in objective.memories().items():
            value.copy_(parts["memory"][name])
        for number, parameter in enumerate(objective.parameters()):
            parameter.copy_(parts["learned"][str(number)])
        state: dict[int, dict[str, Any]] = {}
        for name, value in parts.get("optimiser", {}).items():
            which, _, what = name.partition(".")
            state.setdefault(int(which), {})[what] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        objective.generator.set_state(parts["generator"][""])
        objective.restored()
        self.epoch, self.step = metadata["epoch"], metadata["step"]
        if self.best and "best" in metadata:
            self.best.epoch = metadata["best"]["epoch"]
            self.best.value = metadata["best"]["value"]
            self.best.state = {k: v.to(objective.device) for k, v in parts["best"].items()}
