"""The first training steps of student and teacher, by our own loop.

The networks are filled by rule, the pictures are not augmented and the batches are given, so that
nothing is drawn.
"""

from typing import Any

import torch
from torch import Tensor

from dakd.augment import Normalise, Pipeline
from dakd.config import StudentConfig, TeacherConfig
from dakd.model import ReIDModel
from dakd.runtime import evaluating
from dakd.train.loop import fit
from dakd.train.state import TrainState

from .kit import STUDENT, TEACHER, Kit, Numbers
from .losses import MEMORIES, TERMS, published_terms
from .network import network, ours_by_name, pictures
from .rows import Rows
from .watched import Given, GivenChannels, WatchedStudent, WatchedTeacher, image_set

TEACHER_SEED, STUDENT_SEED = 2026, 2027
MEANS = {  # published name -> name in the released state dict
    "bn1.running_mean": "backbone.bn1.running_mean",
    "neck.running_mean": "bn_neck.running_mean",
}
FLOAT64 = {
    "start": 1e-9,  # class centres, memories as built
    "terms": 1e-9,  # of step 1
    "all terms": 1e-5,
    "gradient": 1e-7,
    "displacement": 1e-7,  # after step 1, as the next two
    "means": 1e-7,
    "embeddings": 1e-6,
    "memories": 1e-7,
    "memories 2": 1e-6,
    "memories 3": 1e-5,
    "end": 1e-4,  # everything after the last step
}
FLOAT32 = {"start": 1e-5, "terms": 1e-3, "means": 1e-4, "embeddings": 1e-1, "memories": 1e-3}


class Look:
    """What student and teacher have in common: the network after steps.

    Args:
        kit: the published numbers.
        numbers: those of the steps.
        rows: to which errors are added.
        model: the network that learns, at its start.
        title: with which every row begins.
        prefix: of the arrays' names.
        last: the number of the last published step.
        dtype: of the computation.
    """

    def __init__(
        self,
        kit: Kit,
        numbers: Numbers,
        rows: Rows,
        model: ReIDModel,
        *,
        title: str,
        prefix: str,
        last: int,
        dtype: torch.dtype,
    ) -> None:
        self.numbers, self.rows, self.model = numbers, rows, model
        self.title, self.prefix, self.last, self.dtype = title, prefix, last, dtype
        self.precision = str(dtype).removeprefix("torch.")
        self.tolerances = FLOAT64 if dtype == torch.float64 else FLOAT32
        self.renamed = ours_by_name(kit)
        self.watched = [n for n in numbers.starting(f"{prefix}grad1/") if n in self.renamed]
        self.start = {name: self.parameter(name).detach().clone() for name in self.watched}

    def parameter(self, name: str) -> Tensor:
        """Return the parameter or buffer of a released name."""
        ours = self.renamed[name]
        return dict([*self.model.named_parameters(), *self.model.named_buffers()])[ours]

    def compare(
        self,
        what: str,
        names: str | tuple[str, ...],
        ours: Any,
        tolerance: str,
        *,
        prefix: str | None = None,
        first: int | None = None,
    ) -> None:
        """Compare one array, where the precision has a tolerance."""
        most = self.tolerances.get(tolerance)
        prefix = self.prefix if prefix is None else prefix
        names = tuple(prefix + name for name in ((names,) if isinstance(names, str) else names))
        if most is not None:
            what = f"{self.title}: {what}"
            how = {"precision": self.precision, "first": first}
            self.rows.compare(what, self.numbers, names, ours, most, **how)

    def terms(self, names: tuple[str, ...], values: Tensor) -> None:
        """Compare a part of the loss in the first step and in all, (steps,)."""
        self.compare("loss and its parts, step 1", names, values[:1], "terms", first=1)
        what, count = f"loss and its parts, steps 1 to {len(values)}", len(values)
        self.compare(what, names, values, "all terms", first=count)

    def memory(self, what: str, name: str, values: Tensor, tolerance: str) -> None:
        """Compare a memory's row lengths and first columns."""
        self.compare(what, f"{name}_norms", values.norm(dim=1), tolerance)
        self.compare(what, f"{name}_first", values[:, :16], tolerance)

    def after(self, step: int) -> None:
        """Compare what is published of the network after a step."""
        if step == 1:
            for name in self.watched:
                gradient = self.parameter(name).grad
                self._norm_and_first("gradient of step 1", f"grad1/{name}", gradient, "gradient")
        if step not in (1, self.last):
            return
        end, when = step == self.last, f"after step {step}"
        for name in self.watched:
            moved = self.parameter(name).detach() - self.start[name]
            tolerance = "end" if end else "displacement"
            self._norm_and_first(f"displacement {when}", f"step{step}/{name}", moved, tolerance)
        for published, name in MEANS.items():
            mean = self.parameter(name)
            tolerance = "end" if end else "means"
            self.compare(f"running means {when}", f"step{step}/{published}", mean, tolerance)
        with torch.no_grad(), evaluating(self.model):
            z = self.model(Normalise(dtype=self.dtype)(pictures(self.numbers["probe"])))
        tolerance = "end" if end else "embeddings"
        self.compare(f"embeddings {when}", f"step{step}/embeddings", z, tolerance)

    def _norm_and_first(self, what: str, name: str, x: Tensor, tolerance: str) -> None:
        self.compare(what, f"{name}/norm", x.norm(), tolerance)
        self.compare(what, f"{name}/first", x.flatten()[:16], tolerance)


def compare_student_steps(
    kit: Kit, *, passes: int, steps: int = 5, dtype: torch.dtype = torch.float64
) -> Rows:
    """Compare the student's first steps, with as many forward calls a step as `passes`."""
    rows, numbers = Rows("DAKD: train_distillation"), kit[STUDENT]
    config = StudentConfig(
        preset="release", passes=passes, epochs=1, steps=steps, identities=4, images=4
    )
    student, teacher = (network(kit, seed, dtype) for seed in (STUDENT_SEED, TEACHER_SEED))
    look = Look(
        kit, numbers, rows, student, dtype=dtype, last=5,
        title=f"student, {'one pass' if passes == 1 else 'two passes'}", prefix=f"passes{passes}/",
    )  # fmt: skip
    objective = WatchedStudent(
        image_set(numbers), config, teacher=teacher, seed=0, device="cpu", precision=look.precision
    )
    objective.augment_visible = objective.augment_infrared = Normalise(dtype=dtype)
    for modality, centres in objective.centres._asdict().items():
        look.compare("class centres", f"centres_{modality}", centres, "start", prefix="")
    objective.watch(look.after)
    sampler = Given(numbers["order"][:steps], len(numbers["labels"]))
    fit(TrainState(student, objective, config, sampler=sampler), seed=0)
    seen = [
        {**published_terms("full_mlkd", parts), "total_loss": parts["total"]}
        for parts in objective.seen
    ]
    for name in seen[0]:
        values = torch.stack([torch.as_tensor(of[name], dtype=torch.float64) for of in seen])
        levels = name.startswith(("instance_", "class_"))
        look.terms((f"loss_{name}" if levels else name,), values)
    return rows


def compare_teacher_steps(kit: Kit, *, steps: int = 4, dtype: torch.dtype = torch.float64) -> Rows:
    """Compare the teacher's first steps, and its memories from step to step."""
    rows, numbers = Rows("MCE: train(epoch)"), kit[TEACHER]
    config = TeacherConfig(epochs=1, steps=steps, identities=4, images=4, schedule="constant")
    model = network(kit, TEACHER_SEED, dtype)
    look = Look(kit, numbers, rows, model, title="teacher", prefix="", last=4, dtype=dtype)
    objective = WatchedTeacher(
        image_set(numbers), config, dim=2048, seed=0, device="cpu", precision=look.precision
    )
    normalise = Normalise(dtype=dtype)
    objective.augment_visible = objective.augment_infrared = normalise
    batches, once = numbers.tensor("channel_batch"), numbers.tensor("channel_memory")[None]
    objective.augment_auxiliary = Pipeline(normalise, GivenChannels(batches))
    objective.exchange = Pipeline(normalise, GivenChannels(once))

    def after(step: int) -> None:
        memories = {name: getattr(objective.objective, ours) for name, ours in MEMORIES.items()}
        for name, memory in memories.items():
            if step == 1:
                look.memory("memories as built", f"built/{name}", memory.centres, "start")
            tolerance = {1: "memories", 4: "end"}.get(step, f"memories {step}")
            what = f"memories after step {step}"
            look.memory(what, f"step{step}/{name}", memory.values, tolerance)
        look.after(step)

    objective.watch(after)
    sampler = Given(numbers["order"][:steps], len(numbers["labels"]))
    fit(TrainState(model, objective, config, sampler=sampler), seed=0)
    for part, published in TERMS.items():
        values = torch.stack([of[part] for of in objective.seen])
        look.terms(tuple(f"terms/{name}" for name in published), values)
    return rows
