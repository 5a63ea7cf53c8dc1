"""Images per second of the student's step, compared with its upper limit and a plain baseline.

ceiling: only the two networks, on a normalised batch that stays on the device: forward pass of the
teacher, forward and backward pass of the student from the sum of its embeddings, no optimiser step;
precision and memory format are those of the package. dakd: `dakd.train.loop.fit`. plain: float32,
contiguous; PIL images one by one through `bench_augment`'s transforms in the worker processes of a
DataLoader; one modality at a time through either network; one KL term per temperature
(`bench_loss`); torch's default Adam; the loss is read in every step.

Images are random pixels in memory, so that no files are decoded. The times of steps and of
embedding are then projected to the whole SYSU-MM01 recipe. Goals on a GPU: 85 % of the ceiling and
6 times the plain baseline.

python benchmarks/bench_train.py [--backbone resnet50 --height 384 --width 128] [--seconds 9]
"""

import argparse
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from bench_augment import one_by_one
from bench_loss import naive
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dakd.config import StudentConfig, TeacherConfig, replace
from dakd.data import ImageSet, Record
from dakd.data.sampler import IdentitySampler
from dakd.distill import ByModality
from dakd.evaluate.embed import extract
from dakd.metrics import rank_metrics
from dakd.model import build_model
from dakd.runtime import autocast, deterministic, pick_device
from dakd.train.history import FLUSH_EVERY, History
from dakd.train.loop import fit
from dakd.train.state import TrainState
from dakd.train.student import StudentObjective
from dakd.train.teacher import TeacherObjective

P, Q, PRECISION, ROUNDS = 8, 4, "bfloat16", 3  # P identities with Q images of each modality
B = P * Q
WORKERS = min(8, os.cpu_count() or 1)  # worker processes of the plain baseline
EPOCHS, STEPS, TRIALS = 160, 696, 10  # the recipe without --release, which tests in training too
VISIBLE, INFRARED = 22_258, 11_909  # training images of SYSU-MM01
QUERIES, TESTED, GALLERY = 3_803, 6_775, 301  # infrared and visible test images; one gallery


class Pixels:
    """The source of an `ImageSet`: a few random images, repeated for all rows."""

    def __init__(self, height: int, width: int, count: int = 256) -> None:
        size = (count, 3, height, width)
        self.pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 (n, 3, H, W)."""
        return torch.from_numpy(self.pixels[rows % len(self.pixels)])


class OneByOne(Dataset):
    """A visible and an infrared image of a person by their rows, each transformed by itself."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))  # (n, H, W, 3)

    @cached_property
    def transforms(self) -> list[Callable[[list[Image.Image]], Tensor]]:
        """The transforms; made in the worker process, because they cannot be pickled."""
        size = self.pixels.shape[1:3]
        return [one_by_one(stream, *size) for stream in ("visible", "infrared")]

    def __getitem__(self, rows: tuple[int, int]) -> tuple[Tensor, ...]:
        images = (Image.fromarray(self.pixels[row % len(self.pixels)]) for row in rows)
        pairs = zip(self.transforms, images, strict=True)
        return tuple(transform([image])[0] for transform, image in pairs)


class SyncForbidden(History):
    """A history between whose flushes torch raises an error where the host waits for the GPU."""

    def flush(self) -> None:
        """Flush, which waits for the GPU."""
        torch.cuda.set_sync_debug_mode("default")
        super().flush()
        torch.cuda.set_sync_debug_mode("error")


def project(
    teacher_step: float, student_step: float, rebuilding: float, embedding: float, ranking: float
) -> dict[str, float]:
    """Return the seconds of every part of the SYSU-MM01 recipe.

    Args:
        teacher_step, student_step: seconds per step.
        rebuilding, embedding: seconds per image, before an epoch of the teacher and otherwise.
        ranking: seconds per trial.
    """
    return {
        "teacher, steps": EPOCHS * STEPS * teacher_step,
        "teacher, memories": EPOCHS * (2 * VISIBLE + INFRARED) * rebuilding,
        "student, centres": (VISIBLE + INFRARED) * embedding,
        "student, steps": EPOCHS * STEPS * student_step,
        "evaluation of both": 2 * ((QUERIES + TESTED) * embedding + TRIALS * ranking),
    }


def seconds_of(step: Callable[[], Any], seconds: float = 0.0) -> float:
    """Return the mean time of a step; steps are repeated for about `seconds`."""
    finish = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    finish()
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < seconds:
        step()
        count += 1
    finish()
    return (time.perf_counter() - start) / count


def train(stage: TrainState, steps: int, history: History | None = None) -> tuple[float, float]:
    """Train for `steps` more steps; return the mean time of one, and the memory in GB."""
    stage.config, stage.last_epoch = replace(stage.config, epochs=1, steps=steps), stage.epoch + 1
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    rows = fit(stage, seed=0, history=history).rows
    times = [2 * B / row["images_per_second"] for row in rows]
    return float(np.mean(times)), rows[-1]["memory_mb"] / 1e3


def ceiling_step(stage: TrainState) -> Callable[[], None]:
    """Return a step of only the two networks."""
    student, objective, device = stage.model, stage.objective, stage.objective.device
    pixels = objective.images.images(np.arange(2 * B)).to(device)
    batch = objective.augmented((objective.augment_visible, pixels))  # normalised

    def step() -> None:
        student.train().zero_grad(set_to_none=True)
        with autocast(device, PRECISION):
            with torch.inference_mode():
                objective.teacher(batch)
            embeddings = student(batch, streams=2, unit=False)
        embeddings.sum().backward()

    return step


def plain_batches(images: ImageSet, workers: int) -> Iterator[list[Tensor]]:
    """Yield visible and infrared images, (B, 3, H, W) each, without end."""
    sampler = IdentitySampler(images.pids, images.infrared, identities=P, images=Q, steps=10**9)
    rows = ([*zip(*(side.tolist() for side in sides), strict=True)] for sides in sampler)
    data = OneByOne(images.source.pixels)
    return iter(DataLoader(data, batch_sampler=rows, num_workers=workers))


def plain_step(stage: TrainState) -> Callable[[], None]:
    """Return a step of the plain baseline, with its own networks."""
    objective, backbone = stage.objective, stage.model.architecture["backbone"]
    student, teacher = (build_model(backbone).to(objective.device) for _ in range(2))
    teacher.eval()
    optimiser = torch.optim.Adam(student.parameters(), lr=3.5e-4)
    batches = plain_batches(objective.images, WORKERS)

    def step() -> None:
        images = [x.to(objective.device) for x in next(batches)]
        with torch.no_grad():
            targets = ByModality(*map(teacher, images))
        loss = naive(ByModality(*map(student, images)), targets, objective.centres)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    return step


def stages(backbone: str, height: int, width: int, people: int) -> tuple[TrainState, TrainState]:
    """Return the states of a teacher and of a student, with Q images per person and modality."""
    sides = (("visible", 1), ("infrared", 3))
    rows = [Record(p, cam, m, n) for p in range(people) for m, cam in sides for n in range(Q)]
    images = ImageSet(rows, Pixels(height, width), keep=False)
    teacher, student, frozen = (build_model(backbone, seed=seed) for seed in range(3))
    how = {"seed": 0, "device": "auto", "precision": PRECISION}
    config, dim = TeacherConfig(identities=P, images=Q), teacher.embedding_dim
    teaching = TrainState(teacher, TeacherObjective(images, config, dim=dim, **how), config)
    config = StudentConfig(identities=P, images=Q)
    return teaching, TrainState(
        student, StudentObjective(images, config, teacher=frozen, **how), config
    )


def compare(student: TrainState, seconds: float) -> dict[str, float]:
    """Return the shortest mean time of each kind of step; the first two take turns."""
    alone, plain, share = ceiling_step(student), plain_step(student), seconds / ROUNDS
    train(student, 2), alone(), plain()
    times = [
        (took := seconds_of(alone, share), train(student, max(1, int(share / took)))[0])
        for _ in range(ROUNDS)
    ]
    ceiling, ours = map(min, zip(*times, strict=True))
    return {"ceiling": ceiling, "dakd": ours, "plain": seconds_of(plain, seconds)}


def augmentation_time(student: TrainState) -> float:
    """Return the time to augment the images of a step."""
    objective = student.objective
    both = (objective.augment_visible, objective.augment_infrared)
    pixels = objective.images.images(np.arange(B)).to(objective.device)
    return seconds_of(lambda: objective.augmented(*((one, pixels) for one in both)), 0.3)


def recipe_times(teacher: TrainState, student_step: float, seconds: float) -> dict[str, float]:
    """Return the arguments of `project`, measured after a warm-up."""
    objective, images = teacher.objective, teacher.objective.images
    train(teacher, 2)
    rebuilding = seconds_of(lambda: objective.start_epoch(teacher.model)) / (1.5 * len(images))
    teacher_step, _ = train(teacher, max(1, int(seconds / student_step / 3)))

    def embed(count: int) -> float:
        rows = np.arange(count) % len(images)
        return seconds_of(lambda: extract(teacher.model, images, rows=rows)) / count

    embed(64)
    embedding = embed(int(np.clip(seconds / 3 / embed(64), 64, QUERIES + TESTED)))
    rng = np.random.default_rng(0)
    similarity = rng.random((QUERIES, GALLERY), dtype=np.float32)
    sides = [rng.integers(1, high, n) for high in (97, 7) for n in (QUERIES, GALLERY)]
    ranking = seconds_of(lambda: rank_metrics(similarity, *sides, protocol="sysu"))
    times = {"teacher_step": teacher_step, "student_step": student_step, "rebuilding": rebuilding}
    return {**times, "embedding": embedding, "ranking": ranking}


def waits_at(stage: TrainState) -> str:
    """Return where a step makes the host wait for the GPU; empty if nowhere."""
    try:
        train(stage, 3 * FLUSH_EVERY, SyncForbidden())
    except RuntimeError as error:
        *_, place = traceback.extract_tb(error.__traceback__)
        return f"{place.filename}:{place.lineno}: {place.line} ({error})"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    gpu = pick_device().type == "cuda"
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in zip(
        ("backbone", "height", "width", "seconds"),
        ("resnet50", 384, 128, 9.0) if gpu else ("resnet18", 96, 48, 9.0),
        strict=True,
    ):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asked = parser.parse_args(arguments)
    size, people = (asked.backbone, asked.height, asked.width), 395 if gpu else 24
    with deterministic(False):
        teacher, student = stages(*size, people)
        times = compare(student, asked.seconds)
        augmentation, (_, memory) = augmentation_time(student), train(student, 2)
        recipe = recipe_times(teacher, times["dakd"], asked.seconds)
        waits = [place for place in map(waits_at, (teacher, student)) if place] if gpu else []

    where = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    print(f"{where}, torch {torch.__version__}, torchvision {torchvision.__version__}, ", end="")
    print(f"Pillow {PIL.__version__}, {torch.get_num_threads()} threads, {WORKERS} plain workers")
    network = "{} at {} x {}".format(*size)
    print(
        f"{network}, {B} + {B} images per step, {people} identities, {PRECISION} (plain: float32)"
    )
    for name, took in times.items():
        print(f"{name:8}{2 * B / took:8.1f} images/s {times['ceiling'] / took:7.1%} of the ceiling")
    print(f"dakd / plain: {times['plain'] / times['dakd']:.2f}", end="; ")
    print(f"augmentation: {augmentation / times['dakd']:.1%} of the step", end="; ")
    print(f"memory: {memory:.1f} GB {'peak on the GPU' if gpu else 'in this process'}")
    print("the host waits for the GPU:", "; ".join(waits) or "nowhere" if gpu else "no GPU to see")
    published = "(NOT the published size, ResNet-50 at 384 x 128)"
    title = network if size == ("resnet50", 384, 128) else f"{network} {published}"
    print(f"the recipe of SYSU-MM01 on this machine, projected for {title}:")
    print("steps of {teacher_step:.4f} s and {student_step:.4f} s, ".format(**recipe), end="")
    rates = (1 / recipe[name] for name in ("rebuilding", "embedding"))
    print("{:.0f} images/s embedded before an epoch of the teacher, {:.0f} in tests".format(*rates))
    parts = project(**recipe)
    for part, took in {**parts, "in all": sum(parts.values())}.items():
        print(f"  {part:20}{took / 3600:8.2f} h")
    if waits:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
