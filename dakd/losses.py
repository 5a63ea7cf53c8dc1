"""The teacher's objective (MCE): contrast with memories, mutual learning, and a centre triplet.

Source: Cheng et al., "Cross-Modality Person Re-Identification with Memory-based Contrastive
Embedding", AAAI 2023, and the code published with it (docs/parity.md).

Three streams of a batch share labels row by row: visible (v), infrared (r) and auxiliary (a,
channel-exchanged visible). Everything is computed in float32, also under autocast.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dakd.memory import PrototypeMemory, class_means
from dakd.runtime import at_least_float32, require

TEMPERATURE = 0.05
WEIGHTS: Mapping[str, float] = {
    "global": 1.0,
    "modality": 1.0,
    "auxiliary": 0.4,
    "mutual": 1.2,
    "triplet": 1.0,
}

P = ParamSpec("P")
T = TypeVar("T")


class Streams(NamedTuple):
    """The same thing for the three streams of the teacher."""

    visible: Tensor
    infrared: Tensor
    auxiliary: Tensor


class LossTerms(NamedTuple):
    """A loss and what it is made of.

    Attributes:
        total: the weighted sum to call ``backward`` on, a scalar.
        parts: the unweighted terms by name, scalars that still carry gradients; a term that is
            switched off (weight 0) is absent.
    """

    total: Tensor
    parts: dict[str, Tensor]


def weighted(parts: dict[str, Tensor], weights: Mapping[str, float]) -> LossTerms:
    """Return `parts` (at least one scalar) with their weighted sum as the total."""
    return LossTerms(torch.stack([weights[name] * parts[name] for name in parts]).sum(), parts)


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """Make `function` run without autocast and with half-precision arguments cast to float32."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(_tensors((*args, *kwargs.values()))).device.type
        with torch.autocast(device, enabled=False):
            return function(*_widen(args), **{name: _widen(v) for name, v in kwargs.items()})

    return run


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return at_least_float32(value)
    if isinstance(value, tuple):
        items = map(_widen, value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


@in_float32
def info_nce(
    z: Tensor, prototypes: Tensor, labels: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    """Return the cross-entropy of every embedding's similarities to the prototypes, batch mean.

    -log softmax(z P^T / temperature)[label]. Only `z` receives a gradient.

    Args:
        z: (B, D), L2-normalised.
        prototypes: (K, D).
        labels: (B,) in 0..K - 1.
        temperature: positive; 0.05 in the method.

    Raises:
        ValueError: shapes do not fit.

    >>> z, prototypes = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    >>> info_nce(z, prototypes, torch.tensor([0]), temperature=1.0)  # log(1 + exp(-1))
    tensor(0.3133)
    """
    _check(z, prototypes, labels)
    return F.cross_entropy(z @ prototypes.detach().T / temperature, labels)


class IdentityLoss(nn.Module):
    """Cross-entropy over learned class directions: plain identity classification.

    Ours: it gives a network that starts from random weights a first sense of identity. The
    published codes start from ImageNet weights and have no such loss.

    Args:
        num_classes: K.
        dim: D.
        temperature: positive.
        seed: the first directions follow from it.
    """

    def __init__(
        self, num_classes: int, dim: int, temperature: float = 0.1, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.empty(num_classes, dim))
        self.temperature = temperature
        nn.init.normal_(self.directions, generator=torch.Generator().manual_seed(seed))

    @in_float32
    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the batch mean for L2-normalised embeddings (B, D) and labels (B,)."""
        _check(z, self.directions, labels)
        return F.cross_entropy(z @ F.normalize(self.directions, dim=1).T / self.temperature, labels)


def mutual_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Return KL(softmax(target_logits) || softmax(logits)), batch mean; the target has no gradient.

    Both are (B, K). The prediction `logits` is what moves, towards the target.
    """
    target = target_logits.detach().log_softmax(1)  # (B, K)
    return F.kl_div(logits.log_softmax(1), target, reduction="batchmean", log_target=True)


@in_float32
def cross_modal_mutual(
    streams: Streams, centres: Streams, temperature: float = TEMPERATURE
) -> Tensor:
    """Return KL(target || prediction), averaged over the 3B rows of v, r and a.

    On visible centres, v moves towards r; on infrared centres, r moves towards v; and a, on
    auxiliary centres, moves towards itself on infrared centres. The target has no gradient.

    Args:
        streams: embeddings (B, D) of v, r and a; row i of all three is the same person.
        centres: (K, D) for v, r and a.
        temperature: positive.
    """
    (v, r, a), (on_v, on_r, on_a) = streams, centres

    def logits(z: Tensor, centres: Tensor) -> Tensor:
        return z @ centres.detach().T / temperature  # (B, K)

    moving = torch.cat([logits(v, on_v), logits(r, on_r), logits(a, on_a)])  # (3B, K)
    target = torch.cat([logits(r, on_v), logits(v, on_r), logits(a, on_r)])  # (3B, K)
    return mutual_kl(moving, target)


@in_float32
def global_centre_triplet(
    z: Tensor, centres: Tensor, labels: Tensor, margin: float = 0.3
) -> Tensor:
    """Return max(0, d(own centre) - d(nearest other centre) + margin), batch mean.

    d is the Euclidean distance; the others are the centres of the batch's other classes. With one
    class in the batch there is no other and the loss is zero. Only `z` receives a gradient.

    Args:
        z: (B, D).
        centres: (K, D), the global centres; not of unit length.
        labels: (B,) in 0..K - 1.
        margin: in units of distance.

    Raises:
        ValueError: shapes do not fit.
    """
    _check(z, centres, labels)
    batch = centres.detach()[labels]  # (B, D): the batch's classes, repeats do no harm
    squared = z.square().sum(1)[:, None] + batch.square().sum(1) - 2 * z @ batch.T  # (B, B)
    distance = squared.clamp_min(1e-12).sqrt()  # no infinite slope at zero
    others = distance.masked_fill(labels[:, None] == labels, torch.inf)
    return F.relu(distance.diagonal() - others.amin(1) + margin).mean()


def _check(z: Tensor, prototypes: Tensor, labels: Tensor) -> None:
    fits = z.ndim == prototypes.ndim == 2 and z.shape[1] == prototypes.shape[1]
    require(
        fits and labels.shape == z.shape[:1] and len(z) > 0,
        f"embeddings (B, D), B > 0, prototypes (K, D) and labels (B,) do not fit: "
        f"{tuple(z.shape)}, {tuple(prototypes.shape)}, {tuple(labels.shape)}",
    )


class TeacherLoss(nn.Module):
    """The prototype-memory objective of the teacher, with its memories.

    Terms: ``global``, InfoNCE of all 3B embeddings against the global memory; ``modality``, InfoNCE
    of v and of r against their own memories, summed; ``auxiliary``, the same for a; ``mutual``,
    `cross_modal_mutual` on the modalities' centres; ``triplet``, `global_centre_triplet` of all 3B
    embeddings. Default weights 1, 1, 0.4, 1.2 and 1.

    Use: `rebuild` before an epoch, call in a step, `update` after the step's backward.

    Args:
        num_classes: K.
        dim: D.
        weights: weights that differ from the default, by term; 0 switches a term off.
        temperature: of InfoNCE and of mutual learning.
        margin: of the triplet.
        global_momentum, modality_momentum: share of the old prototype that stays in an update.

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
        """Set all memories from embeddings of the training images, made in eval mode.

        The global memory is the mean of the other three, and so a little shorter than 1.

        Args:
            visible, infrared: (N_v, D) and (N_r, D), with labels (N_v,) and (N_r,).
            auxiliary: (N_v, D), of the channel-exchanged visible images, in the order of `visible`.

        Raises:
            ValueError: as `dakd.memory.class_means`: non-finite embeddings, classes without image.
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
        """Return the loss of a batch: three times (B, D), L2-normalised, and labels (B,).

        Raises:
            RuntimeError: `rebuild` was never called.
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
        """Move the memories' values towards a batch; call it after the step's backward.

        The global memory takes, for each class, the hardest of its embeddings of all streams, each
        stream's memory the mean of the class's embeddings in that stream.

        Args:
            visible, infrared, auxiliary: (B, D), L2-normalised.
            labels: (B,).
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
