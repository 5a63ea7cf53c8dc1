"""Distillation into the student: `train_student` and its objective, DAKD's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakd.config import (
    EngineConfig,
    StudentConfig,
    to_dict,
)
from dakd.data import ImageSet
from dakd.distill import DAKDLoss, Pair, centre_logits
from dakd.evaluate.embed import refuse_other_images
from dakd.losses import LossTerms
from dakd.memory import class_means
from dakd.model import ReIDModel
from dakd.train.checkpoint import (
    weights_fingerprint,
)
from dakd.train.objective import Batch, Objective
from dakd.train.run import Trained, _asked, _train
from dakd.train.selection import Best
from dakd.train.state import Stage


def class_centres(embeddings: Tensor, images: ImageSet) -> Pair:
    """Return the normalised class means (K, D) of either modality.

    Args:
        embeddings: (N, D), of all `images`.
        images: the training images.

    Raises:
        ValueError: an identity has no image in one modality.
    """
    labels = torch.from_numpy(images.labels).to(embeddings.device)
    infrared = torch.from_numpy(images.infrared).to(embeddings.device)
    return Pair(
        *(class_means(embeddings[m], labels[m], images.num_classes) for m in (~infrared, infrared))
    )


class StudentObjective(Objective):
    """`dakd.distill.DAKDLoss` against a frozen teacher and its class centres.

    With `StudentConfig.identity_weight` a cross-entropy is added that calls every similarity to the
    teacher's class centres of the image's modality by the image's identity.
    """

    def __init__(
        self, images: ImageSet, config: StudentConfig, *, teacher: ReIDModel, **where: Any
    ) -> None:
        super().__init__(images, config, **where)
        self.config = config
        self.teacher = teacher.to(device=self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.listened: Any = self.teacher
        self.objective = DAKDLoss(config.preset, config.ablation, **config.switches)
        exact = "float64" if self.dtype == torch.float64 else "float32"
        embeddings = self.embed(teacher, np.arange(len(images)), precision=exact)
        self.centres = class_centres(embeddings, images)

    def compile(self) -> None:
        """Compile the teacher."""
        self.listened = torch.compile(self.teacher, dynamic=False)

    def memories(self) -> dict[str, Tensor]:
        """Return the teacher's class centres, to continue with the same to the bit."""
        return {f"centres_{name}": value for name, value in self.centres._asdict().items()}

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Compare the outputs of teacher and student for the same augmented images.

        The student's is that of its neck, not of unit length, as published.
        """
        x = self.augmented(
            (self.augment_visible, batch.visible), (self.augment_infrared, batch.infrared)
        )
        joint = self.config.batch_statistics == "joint"
        with torch.no_grad():
            for _ in range(self.config.forward_passes - 1):
                self.forward(model, x, streams=2, joint=joint)
        with torch.inference_mode():
            said = self.forward(self.listened, x, streams=2)
        teacher = Pair(*(z.clone() for z in said))  # ordinary tensors, that autograd may keep
        student = Pair(*self.forward(model, x, streams=2, joint=joint, unit=False))
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
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    engine: EngineConfig | None = None,
    folder: str | Path | None = None,
    notes: dict[str, Any] | None = None,
    show: bool = True,
    test_score: Callable[[ReIDModel], float] | None = None,
) -> Trained:
    """Distil `teacher`, which stays as it is, into `student`, which is trained in place.

    Args:
        student: the network that learns; of the teacher's architecture.
        teacher: a trained network.
        images, config, seed, device, precision, engine, folder, notes, show, test_score: see
            `train_teacher`.

    Raises:
        TrainingError, Stopped, OSError: see `train_teacher`.
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
    config = config or StudentConfig()
    score = _asked(config, test_score)
    if len(images):
        size = images.images([0]).shape[2:]
        refuse_other_images(teacher, size, images.filter, who="the teacher")

    def stages(images: ImageSet, where: dict[str, Any], best: Best | None) -> dict[str, Stage]:
        objective = StudentObjective(images, config, teacher=teacher, **where)
        title = f"student ({config.preset}, {config.ablation})"
        return {title: Stage(student, objective, config, best=best)}

    how: dict[str, Any] = {"seed": seed, "device": device, "precision": precision, "show": show}
    how |= {"engine": engine or EngineConfig(), "folder": folder, "notes": notes or {}}
    decided = {"student": to_dict(config), "teacher_weights": weights_fingerprint(teacher)}
    return _train(student, images, stages, config, decided, test_score=score, **how)
