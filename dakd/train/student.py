"""Distillation into the student: `train_student` and its objective, DAKD's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakd.config import StudentConfig, replace, to_dict
from dakd.data import ImageSet
from dakd.distill import ByModality, DAKDLoss, centre_logits
from dakd.evaluate.embed import check_image_fields
from dakd.losses import LossTerms
from dakd.memory import class_means
from dakd.model import ReIDModel
from dakd.train.checkpoint import (
    weights_fingerprint,
)
from dakd.train.objective import Batch, Objective
from dakd.train.run import Run, TrainingResult, best_on_test, train
from dakd.train.selection import Best
from dakd.train.state import TrainState


def class_centres(embeddings: Tensor, images: ImageSet) -> ByModality:
    """Return the normalised class means (K, D) of either modality.

    Args:
        embeddings: (N, D), of all `images`.
        images: the training images.

    Raises:
        ValueError: an identity has no image in one modality.
    """
    labels = torch.from_numpy(images.labels).to(embeddings.device)
    infrared = torch.from_numpy(images.infrared).to(embeddings.device)
    return ByModality(
        *(class_means(embeddings[m], labels[m], images.num_classes) for m in (~infrared, infrared))
    )


class StudentObjective(Objective):
    """`dakd.distill.DAKDLoss` against a frozen teacher and its class centres.

    With `StudentConfig.identity_weight`, a cross-entropy over similarities to the class centres of
    the teacher, of the same modality, is added.
    """

    def __init__(
        self, images: ImageSet, config: StudentConfig, *, teacher: ReIDModel, **where: Any
    ) -> None:
        super().__init__(images, config, **where)
        self.config = config
        self.teacher = teacher.to(device=self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.teacher_forward: Any = self.teacher
        self.objective = DAKDLoss(config.preset, config.ablation, **config.distill.overrides)
        exact = "float64" if self.dtype == torch.float64 else "float32"
        embeddings = self.embed(teacher, np.arange(len(images)), precision=exact)
        self.centres = class_centres(embeddings, images)

    def compile(self) -> None:
        """Compile the teacher."""
        self.teacher_forward = torch.compile(self.teacher, dynamic=False)

    def memories(self) -> dict[str, Tensor]:
        """Return the class centres of the teacher, so that a resumed training has the same."""
        return {f"centres_{name}": value for name, value in self.centres._asdict().items()}

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Compare teacher and student on the same augmented images.

        The student's output is that of its neck, not of unit length, as published.
        """
        x = self.augmented(
            (self.augment_visible, batch.visible), (self.augment_infrared, batch.infrared)
        )
        joint = self.config.batch_statistics == "joint"
        with torch.no_grad():
            for _ in range(self.config.forward_passes - 1):
                self.forward(model, x, streams=2, joint=joint)
        with torch.inference_mode():
            predictions = self.forward(self.teacher_forward, x, streams=2)
        # Clones are no inference tensors, which autograd could not save.
        teacher = ByModality(*(z.clone() for z in predictions))
        student = ByModality(*self.forward(model, x, streams=2, joint=joint, unit=False))
        terms = self.objective(student, teacher, self.centres)
        if not self.config.identity_weight:
            return terms
        logits = [
            centre_logits(F.normalize(n, dim=1), c, self.objective.switches.centre_temperature)
            for n, c in zip(student, self.centres, strict=True)
        ]
        identity = F.cross_entropy(torch.cat(logits), batch.labels.repeat(2))
        total = terms.total + self.config.identity_weight * identity
        return LossTerms(total, {**terms.parts, "identity": identity})


def train_student(
    student: ReIDModel,
    teacher: ReIDModel,
    images: ImageSet,
    config: StudentConfig | None = None,
    run: Run | None = None,
    *,
    test_score: Callable[[ReIDModel], float] | None = None,
    **settings: Any,
) -> TrainingResult:
    """Distil `teacher`, which is not changed, into `student`, which is trained in place.

    Args:
        student: the network that learns; of the teacher's architecture.
        teacher: a trained network.
        images, config, run, test_score, settings: see `dakd.train.train_teacher`.

    Raises:
        TrainingError, Stopped, OSError, TypeError: see `dakd.train.train_teacher`.
        ValueError: teacher and student differ in architecture, or are one object; the teacher was
            trained on images of another size; the configuration selects on the test set and there
            is no `test_score`.
    """
    if student is teacher:
        raise ValueError("student and teacher are the same object; pass copy.deepcopy(teacher)")
    if student.architecture != teacher.architecture:
        raise ValueError(
            f"self-distillation needs one architecture: the teacher is {teacher.architecture}, "
            f"the student {student.architecture}"
        )
    config, run = config or StudentConfig(), replace(run or Run(), **settings)
    best = best_on_test(config, test_score)
    if len(images):
        size = images.images([0]).shape[2:]
        check_image_fields(teacher, size, images.filter, name="the teacher")

    def stages(images: ImageSet, where: dict[str, Any], best: Best | None) -> dict[str, TrainState]:
        objective = StudentObjective(images, config, teacher=teacher, **where)
        title = f"student ({config.preset}, {config.ablation})"
        return {title: TrainState(student, objective, config, best=best)}

    decided = {"student": to_dict(config), "teacher_weights": weights_fingerprint(teacher)}
    return train(student, images, stages, config, decided, run, best)
