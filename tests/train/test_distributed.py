import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import killed
import pytest
import torch
from examples import image_set
from killed import ON_CPU, SMALL

from dakd.batchnorm import PerStream
from dakd.config import DistillConfig, EngineConfig, StudentConfig, TeacherConfig
from dakd.model import build_model
from dakd.train import TrainingResult, train_student, train_teacher
from dakd.train.distributed import DistributedContext, _SyncBatchNormOnCPU
from dakd.train.history import TrainingError

START = {
    "teacher": lambda: build_model("small", "gem"),
    "student": lambda: build_model("small", seed=1),
}
LEARNERS = list(START)


def train(learner: str) -> TrainingResult:
    """Train for three steps per stage; the student with a mask, labels and two forward passes."""
    images = image_set(range(1, 10))
    small = {**SMALL, "epochs": 1, "weight_decay": 0.1}  # without it, Adam ignores the scale
    if learner == "teacher":
        config = TeacherConfig(**small, identity_epochs=1)
        return train_teacher(START[learner](), images, config, **ON_CPU)
    config = StudentConfig(
        **small, identity_weight=0.5, passes=2, distill=DistillConfig(quantile=0.3)
    )
    networks = START[learner](), build_model("small")
    return train_student(*networks, images, config, **ON_CPU)


def join(rank: int, port: int) -> None:
    """Make this process one of two."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)


def train_both(rank: int, port: int, folder: str) -> None:
    """Train teacher and student as one of two processes, and save the results."""
    join(rank, port)
    for learner in LEARNERS:
        trained = train(learner)
        kinds = {type(m).__name__ for m in trained.model.modules()}
        left = {"loss": trained.history["loss"].tolist(), "state": trained.model.state_dict()}
        torch.save(left | {"kinds": kinds}, f"{folder}/{learner}{rank}.pt")
    torch.distributed.destroy_process_group()


def stop_and_resume(rank: int, port: int, folder: str, steps: int) -> None:
    """Train in a run folder; after some steps, only the second process receives Ctrl-C."""
    join(rank, port)
    if rank == 1:
        killed.interrupt_after(steps, "poll_stop")
    try:
        killed.teacher(Path(folder))
        message = "finished"
    except killed.Stopped as stopped:
        message = str(stopped)
    trained = killed.teacher(Path(folder))
    left = {"message": message, "loss": trained.history["loss"].tolist()}
    torch.save(left | {"state": trained.model.state_dict()}, f"{folder}/left{rank}.pt")
    torch.distributed.destroy_process_group()


def stop_on_a_full_disk(rank: int, port: int, folder: str) -> None:
    """Train in a run folder; both are asked to stop, and the main process cannot save."""
    join(rank, port)
    killed.interrupt_after(4, "poll_stop")
    killed.snapshot.save_file = killed.refuse
    try:
        killed.teacher(Path(folder), EngineConfig(snapshot_seconds=1000))
    except (OSError, TrainingError) as error:
        torch.save(f"{type(error).__name__}: {error}", f"{folder}/error{rank}.pt")
    torch.distributed.destroy_process_group()


def pass_streams(rank: int, port: int, folder: str) -> None:
    """Pass this process's shard of two streams through the network, as one of two processes."""
    join(rank, port)
    context, (model, x) = DistributedContext.join("cpu"), model_and_streams()
    own = torch.cat([part[context.shard(len(part))] for part in x.chunk(2)])
    with context.wrap(model) as shared:
        z = shared(own, streams=2, unit=False)
        z.pow(3).mean().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    left = {"z": z.detach(), "grads": grads, "buffers": dict(model.named_buffers())}
    torch.save(left, f"{folder}/left{rank}.pt")
    torch.distributed.destroy_process_group()


def model_and_streams():
    x = torch.randn(12, 3, 32, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[6:] *= 3  # the streams differ in their statistics
    return build_model("small", "gem").double().train(), x


def run_two(target: Callable[..., None], folder: Path, *args: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = multiprocessing.get_context("spawn")
    children = [start.Process(target=target, args=(r, port, str(folder), *args)) for r in (0, 1)]
    for child in children:
        child.start()
    try:
        for child in children:
            child.join(240)
    finally:
        for child in children:
            child.kill()
    assert [child.exitcode for child in children] == [0, 0]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run_two(train_both, folder)
    return {
        learner: [torch.load(folder / f"{learner}{rank}.pt") for rank in (0, 1)]
        for learner in LEARNERS
    }


@pytest.mark.parametrize("learner", LEARNERS)
def test_two_processes_train_like_one_with_the_same_batch(learner, two_processes):
    alone, (first, second) = train(learner), two_processes[learner]
    assert first["loss"] == second["loss"]
    assert first["loss"] == pytest.approx(alone.history["loss"].tolist(), rel=1e-3)
    assert first["loss"][0] == pytest.approx(alone.history["loss"][0], rel=1e-6)
    start, after = START[learner]().state_dict(), alone.model.state_dict()
    for name, value in after.items():
        assert torch.equal(first["state"][name], second["state"][name]), name
        difference, moved = (first["state"][name] - value).float(), (value - start[name]).float()
        assert difference.norm() <= 0.05 * moved.norm(), name  # Adam amplifies tiny gradients
    assert not first["kinds"] & {"_SyncBatchNormOnCPU", "DistributedDataParallel"}


def test_batch_norm_of_two_processes_equals_that_of_one_for_each_stream(tmp_path):
    run_two(pass_streams, tmp_path)
    first, second = (torch.load(tmp_path / f"left{rank}.pt") for rank in (0, 1))
    model, x = model_and_streams()
    z = model(x, streams=2, unit=False)
    z.pow(3).mean().backward()
    close = {"atol": 1e-12, "rtol": 1e-10}
    ours = torch.cat([first["z"][:3], second["z"][:3], first["z"][3:], second["z"][3:]])
    torch.testing.assert_close(ours, z.detach(), **close)
    for left in (first, second):
        for name, value in left["grads"].items():
            torch.testing.assert_close(value, model.get_parameter(name).grad, msg=name, **close)
        for name, value in left["buffers"].items():
            torch.testing.assert_close(value, model.get_buffer(name), msg=name, **close)
    assert model.neck.num_batches_tracked == 2


@pytest.mark.parametrize(
    ("steps", "words"),
    [(4, "stopped after epoch 2, step 2; the state is saved"), (12, "is finished")],
)  # they poll after step 8 of 12, and once more in the end
def test_two_processes_stop_together_and_resume(steps, words, tmp_path):
    run_two(stop_and_resume, tmp_path, steps)
    first, second = (torch.load(tmp_path / f"left{rank}.pt") for rank in (0, 1))
    assert words in first["message"]
    assert second["message"] == first["message"]
    assert first["loss"] == second["loss"]
    alone = killed.teacher()
    assert first["loss"] == pytest.approx(alone.history["loss"].tolist(), rel=1e-3)
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name


def test_two_processes_that_cannot_save_raise_errors(tmp_path):
    run_two(stop_on_a_full_disk, tmp_path)
    first, second = (torch.load(tmp_path / f"error{rank}.pt") for rank in (0, 1))
    assert first == "OSError: no space left on device"
    assert second.startswith("TrainingError: stopped, and the main process could not save")


def test_a_single_process_changes_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    context, model = DistributedContext.join("cpu"), build_model("small")
    assert (context.rank, context.size, context.is_main) == (0, 1, True)
    with context.wrap(model) as same:
        assert same is model
    z = torch.rand(3, 2, requires_grad=True)
    assert context.gather(z, 3) is z


@pytest.mark.parametrize(("count", "size"), [(7, 3), (2, 4), (8, 2), (1, 1)])
def test_shards_hold_every_row_once_and_in_order(count, size):
    rows = list(range(count))
    assert (
        sum((rows[DistributedContext(rank, size).shard(count)] for rank in range(size)), []) == rows
    )


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    from dakd.train.loop import fit
    from dakd.train.state import TrainState
    from dakd.train.teacher import IdentityObjective

    config = TeacherConfig(**{**SMALL, "identities": 3})
    where = {
        "seed": 0,
        "device": "cpu",
        "precision": "float32",
        "context": DistributedContext(0, 2),
    }
    objective = IdentityObjective(image_set(range(1, 9)), config, dim=256, **where)
    with pytest.raises(ValueError, match="3 identities in a batch do not divide among 2 processes"):
        fit(TrainState(build_model("small"), objective, config), seed=0)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 3)])
def test_synchronised_batch_norm_of_one_process_equals_torchs(shape, monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda x: None)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 5
    torchs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(4)
    ours = _SyncBatchNormOnCPU(4)
    results = []
    for layer in (torchs, ours):
        own = x.clone().requires_grad_(True)
        y = layer(own)
        (y.square() * x).sum().backward()
        results.append((y.detach(), own.grad, layer.weight.grad, layer.running_mean,
                        layer.running_var, layer.num_batches_tracked))  # fmt: skip
    for theirs, mine in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x))


def test_on_gpus_torchs_synchronised_batch_norm_is_used_inside_wrap(monkeypatch):
    monkeypatch.setattr("dakd.train.distributed.DistributedDataParallel", lambda model: model)
    monkeypatch.setattr(torch.nn.Parameter, "is_cuda", True)
    model = build_model("small").eval()
    neck = model.neck
    with DistributedContext(0, 2).wrap(model) as shared:
        assert isinstance(shared.neck, torch.nn.SyncBatchNorm)
        assert isinstance(shared.neck, PerStream)
        assert shared.neck.running_mean is neck.running_mean
        assert shared.neck.bias is neck.bias
        assert not shared.neck.training
    assert model.neck is neck
