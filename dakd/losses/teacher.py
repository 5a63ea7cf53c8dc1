"""The teacher's objective (MCE): contrast with memories, mutual learning and a centre triplet."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dakd.losses.contrast import (
    TEMPERATURE,
    Streams,
    cross_modal_mutual,
    global_centre_triplet,
    info_nce,
)
from dakd.losses.terms import LossTerms, in_float32, weighted
from dakd.memory import PrototypeMemory, class_means
from dakd.runtime import require

WEIGHTS: Mapping[str, float] = {
    "global": 1.0,
    "modality": 1.0,
    "auxiliary": 0.4,
    "mutual": 1.2,
    "triplet": 1.0,
}


class TeacherLoss(nn.Module):
    """The teacher's loss and its prototype memories (Cheng et al., AAAI 2023).

    Three streams of a batch share labels row by row: visible (v), infrared (r) and auxiliary (a,
    channel-exchanged visible).

    ============= ============================================================= ======
    term          meaning                                                       weight
    ============= ============================================================= ======
    ``global``    InfoNCE of all 3B embeddings against the global memory        1
    ``modality``  InfoNCE of v and of r against their own memories, summed      1
    ``auxiliary`` InfoNCE of a against its own memory                           0.4
    ``mutual``    `cross_modal_mutual` on the centres of the streams            1.2
    ``triplet``   `global_centre_triplet` of all 3B embeddings                  1
    ============= ============================================================= ======

    Call `rebuild` before every epoch, the loss in every step, and `update` after its backward pass.

    Args:
        num_classes: K.
        dim: D.
        weights: by term, where they differ from the default; 0 switches a term off.
        temperature: of InfoNCE and of mutual learning.
        margin: of the triplet.
        global_momentum, modality_momentum: of `dakd.memory.PrototypeMemory`, for the global memory
            and for those of the streams.

    Attributes:
        memory: the global memory.
        visible, infrared, auxiliary: the memories of the streams.
        built: whether the memories have been filled.

    Raises:
        ValueError: unknown term, negative weight, or every term switched off.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        weights: Mapping[str, float] | None = None,
        temperature: float = TEMPERATURE,
        margin: float = 0.3,
        global_momentum: float = 0.1,
        modality_momentum: float = 0.25,
    ) -> None:
        super().__init__()
        unknown = sorted(set(weights or {}) - set(WEIGHTS))
        require(not unknown, f"unknown loss terms {unknown}; the terms are {list(WEIGHTS)}")
        self.weights = {**WEIGHTS, **(weights or {})}
        amounts = self.weights.values()
        require(
            min(amounts) >= 0 and max(amounts) > 0,
            f"weights must not be negative, and one must be positive: {self.weights}",
        )
        self.temperature, self.margin = temperature, margin
        self.memory = PrototypeMemory(
            num_classes, dim, momentum=global_momentum, update="hardest"
        )  # M
        self.visible, self.infrared, self.auxiliary = (
            PrototypeMemory(num_classes, dim, momentum=modality_momentum, update="mean")
            for _ in range(3)
        )  # M^v, M^r, M^a
        self.built = False

    def rebuild(
        self,
        visible: Tensor,
        visible_labels: Tensor,
        infrared: Tensor,
        infrared_labels: Tensor,
        auxiliary: Tensor,
    ) -> None:
        """Set all memories from eval-mode embeddings of the training images.

        The global memory is the mean of the other three, so its rows are a little shorter than 1.

        Args:
            visible, infrared: (N_v, D) and (N_r, D), with labels (N_v,) and (N_r,).
            auxiliary: (N_v, D), of the channel-exchanged visible images, in the order of `visible`.

        Raises:
            ValueError: see `dakd.memory.class_means`.
        """
        K = len(self.memory.values)
        means = (
            class_means(visible, visible_labels, K),
            class_means(infrared, infrared_labels, K),
            class_means(auxiliary, visible_labels, K),
        )
        for memory, mean in zip(self._memories(), means, strict=True):
            memory.reset(mean)
        joint = torch.stack([memory.values for memory in self._memories()]).mean(0)  # (K, D)
        self.memory.reset(joint)
        self.built = True

    def _memories(self) -> tuple[PrototypeMemory, PrototypeMemory, PrototypeMemory]:
        return self.visible, self.infrared, self.auxiliary

    @in_float32
    def forward(
        self, visible: Tensor, infrared: Tensor, auxiliary: Tensor, labels: Tensor
    ) -> LossTerms:
        """Return the loss of a batch.

        Args:
            visible, infrared, auxiliary: embeddings (B, D), L2-normalised.
            labels: (B,) in 0..K - 1, shared by the streams.

        Raises:
            RuntimeError: the memories are empty.
            ValueError: shapes do not fit.
        """
        streams = Streams(visible, infrared, auxiliary)
        if not self.built:
            raise RuntimeError("the memories are empty; call rebuild(...) before the first batch")
        _check_streams(streams, labels)
        joint, joint_labels = torch.cat(streams), labels.repeat(3)  # (3B, D), (3B,)
        own = Streams(*(memory.values for memory in self._memories()))
        centres = Streams(*(memory.centres for memory in self._memories()))

        def nce(z: Tensor, prototypes: Tensor) -> Tensor:
            return info_nce(z, prototypes, joint_labels[: len(z)], self.temperature)

        terms: dict[str, Callable[[], Tensor]] = {
            "global": lambda: nce(joint, self.memory.values),
            "modality": lambda: nce(visible, own.visible) + nce(infrared, own.infrared),
            "auxiliary": lambda: nce(auxiliary, own.auxiliary),
            "mutual": lambda: cross_modal_mutual(streams, centres, self.temperature),
            "triplet": lambda: global_centre_triplet(
                joint, self.memory.centres, joint_labels, self.margin
            ),
        }
        return weighted({n: term() for n, term in terms.items() if self.weights[n]}, self.weights)

    def update(
        self,
        visible: Tensor,
        infrared: Tensor,
        auxiliary: Tensor,
        labels: Tensor,
    ) -> None:
        """Move the memories towards the embeddings of a batch, after the backward pass.

        For each class, the global memory takes the hardest embedding of all streams, and each
        stream's memory the mean embedding of that stream.

        Args:
            visible, infrared, auxiliary: see `forward`.
            labels: (B,).

        Raises:
            ValueError: shapes do not fit.
        """
        streams = Streams(visible, infrared, auxiliary)
        _check_streams(streams, labels)
        self.memory.update(torch.cat(streams), labels.repeat(3))
        for memory, z in zip(self._memories(), streams, strict=True):
            memory.update(z, labels)


def _check_streams(streams: Streams, labels: Tensor) -> None:
    shapes = [tuple(z.shape) for z in streams]
    require(
        len(set(shapes)) == 1 and labels.shape == streams[0].shape[:1] and len(labels) > 0,
        f"visible, infrared and auxiliary must all be (B, D) with labels (B,), B > 0, "
        f"not {shapes} with {tuple(labels.shape)}",
    )
