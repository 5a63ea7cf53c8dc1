"""Losses of student and teacher: terms, gradients and memories."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dakd.distill import ABLATIONS, ByModality, DAKDLoss
from dakd.losses import TeacherLoss

from .kit import Kit, Numbers
from .rows import Rows

MODALITIES = {"visible": "strong", "infrared": "weak"}  # our name -> the student's release
TERMS = {  # our part -> the published terms it is the sum of
    "global": ("MEM",),
    "triplet": ("GC",),
    "modality": ("vid", "iid"),
    "auxiliary": ("sid",),
    "mutual": ("KL",),
    "total": ("total",),
}
MEMORIES = {  # published name -> our attribute
    "global": "memory",
    "visible": "visible",
    "infrared": "infrared",
    "auxiliary": "auxiliary",
}
PRECISIONS = {"float64": (torch.float64, 1e-9, 1e-9), "float32": (torch.float32, 1e-5, 2e-6)}


def published_terms(ablation: str, parts: dict[str, Tensor]) -> dict[str, Tensor | float]:
    """Return the student's parts under the names and with the weights of the release."""
    if ablation == "only_kd":
        kd = {f"kd_{MODALITIES[m]}": 0.9 * parts[f"instance_{m}"] for m in MODALITIES}
        return {**kd, "loss_kd": sum(kd.values()), "loss_instance": 0.0, "loss_class": 0.0}
    terms: dict[str, Tensor | float] = {"loss_kd": 0.0}
    for level in ("instance", "class"):
        reported = {
            f"{level}_{MODALITIES[m]}": 0.9 * parts[f"{level}_{m}"]
            for m in MODALITIES
            if f"{level}_{m}" in parts
        }
        terms |= {**reported, f"loss_{level}": 0.5 * sum(reported.values())}
    return terms


def compare_student_loss(kit: Kit) -> Rows:
    """Compare the distillation loss as released, with all its ablations."""
    rows = Rows("DAKD: MLKD loss")
    for case in (0, 1):
        for precision, (dtype, tolerance, _) in PRECISIONS.items():
            for ablation in ABLATIONS:
                _student(rows, kit[f"student_loss_{case}"], ablation, dtype, tolerance, precision)
    return rows


def _student(
    rows: Rows,
    numbers: Numbers,
    ablation: str,
    dtype: torch.dtype,
    tolerance: float,
    precision: str,
) -> None:
    student, teacher, centres = (
        ByModality(*(numbers.tensor(f"{what}_{modality}", dtype) for modality in MODALITIES))
        for what in ("student", "teacher", "centres")
    )
    for z in student:
        z.requires_grad_()
    terms = DAKDLoss("release", ablation)(student, teacher, centres)
    terms.total.backward()
    parts = {**published_terms(ablation, terms.parts), "total": terms.total}
    for name, value in parts.items():
        weighted = name == "total" or name.startswith("loss_")
        published = f"{ablation}/{name}" if weighted else name
        rows.compare(
            f"student's loss, {ablation}: total and parts",
            numbers, published, value, tolerance, precision=precision,
        )  # fmt: skip
    for modality, z in zip(MODALITIES, student, strict=True):
        rows.compare(
            f"student's loss, {ablation}: gradients",
            numbers, f"{ablation}/grad_{modality}", z.grad, tolerance, precision=precision,
        )  # fmt: skip


def compare_teacher_loss(kit: Kit) -> Rows:
    """Compare the memories as built, and three batches that follow one another."""
    rows = Rows("MCE: train.py, model.py")
    for case in (0, 1):
        for precision, (dtype, tolerance, memory_tolerance) in PRECISIONS.items():
            numbers = kit[f"teacher_loss_{case}"]
            loss = _built(numbers, dtype)
            for published, ours in MEMORIES.items():
                memory = getattr(loss, ours)
                for what, value in (("features", memory.values), ("centres", memory.centres)):
                    rows.compare(
                        "teacher's loss: memories and centres as built",
                        numbers, f"built/{published}_{what}", value, memory_tolerance,
                        precision=precision,
                    )  # fmt: skip
            for batch in (0, 1, 2):
                _batch(rows, numbers, loss, f"batch{batch}", dtype, precision)
    return rows


def _built(numbers: Numbers, dtype: torch.dtype) -> TeacherLoss:
    """Return the loss after its memories were built from embeddings of all training images."""
    v, r, a = (numbers.tensor(f"embeddings_{stream}", dtype) for stream in "vra")
    labels = {stream: numbers.tensor(f"labels_{stream}") for stream in "vr"}
    K = int(labels["v"].max()) + 1
    loss = TeacherLoss(K, v.shape[1]).to(dtype)
    loss.rebuild(v, labels["v"], r, labels["r"], a)
    return loss


def _batch(
    rows: Rows,
    numbers: Numbers,
    loss: TeacherLoss,
    batch: str,
    dtype: torch.dtype,
    precision: str,
) -> None:
    """Compare terms and gradient of a batch, and the memories after it."""
    _, tolerance, memory_tolerance = PRECISIONS[precision]
    labels = numbers.tensor(f"{batch}/labels")
    neck = numbers.tensor(f"{batch}/neck", dtype).requires_grad_()
    streams = F.normalize(neck, dim=1).chunk(3)  # v, r, a
    terms = loss(*streams, labels)
    terms.total.backward()
    values = {**terms.parts, "total": terms.total}
    for part, published in TERMS.items():
        name = part if part == "total" else f"{part} ({' + '.join(published)})"
        rows.compare(
            f"teacher's loss: {name}",
            numbers, tuple(f"{batch}/{term}" for term in published), values[part], tolerance,
            precision=precision,
        )  # fmt: skip
    rows.compare(
        "teacher's loss: gradient of the total",
        numbers, f"{batch}/grad", neck.grad, tolerance, precision=precision,
    )  # fmt: skip
    loss.update(*(z.detach() for z in streams), labels)
    for published, ours in MEMORIES.items():
        rows.compare(
            "teacher's loss: memories after each batch",
            numbers, f"{batch}/{published}_features", getattr(loss, ours).values,
            memory_tolerance, precision=precision,
        )  # fmt: skip
