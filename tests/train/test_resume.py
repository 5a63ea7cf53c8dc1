import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import killed
import pytest
import torch
from safetensors import SafetensorError

from dakd.config import EngineConfig, TeacherConfig, replace
from dakd.model import build_model
from dakd.train import run
from dakd.train.checkpoint import is_complete
from dakd.train.distributed import DistributedContext
from dakd.train.history import TrainingError, read_history
from dakd.train.run_folder import RunFolder, open_run
from dakd.train.snapshot import Snapshot, read_snapshot, write_snapshot
from dakd.train.state import TrainState
from dakd.train.stopping import Stopped
from dakd.train.teacher import IdentityObjective

ROUNDS = int(os.environ.get("DAKD_KILL_ROUNDS", "2"))  # more find rarer moments


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute as the child processes do: sums depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(one_thread):
    """What the trainings give when nobody disturbs them, by learner."""
    return {name: learner() for name, learner in killed.LEARNERS.items()}


def assert_same(trained, expected):
    for name, value in expected.model.state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], value), name
    timed = ["images_per_second", "memory_mb"]
    assert trained.history.drop(columns=timed).equals(expected.history.drop(columns=timed))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts processes too slowly for it")
@pytest.mark.parametrize("learner", ["teacher", "student"])
def test_a_training_killed_at_random_moments_ends_in_the_same_weights(learner, whole, tmp_path):
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["killed"])
    for number in range(ROUNDS):
        folder, kills, rng = tmp_path / str(number), 0, random.Random(number)
        while not is_complete(folder):
            barrier = start.Barrier(2)
            child = start.Process(target=killed.train, args=(learner, str(folder), barrier))
            child.start()
            barrier.wait()
            child.join(rng.uniform(0.05, 0.2 if kills == 0 else 1.0) if kills < 6 else None)
            kills += child.is_alive()
            child.kill()
            child.join()
            assert child.exitcode in (0, -signal.SIGKILL)
        assert kills > 0
        assert_same(killed.LEARNERS[learner](folder), whole[learner])
        assert not (folder / "snapshots").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("number", [1, 7])
def test_a_training_killed_in_a_write_goes_on_from_the_snapshot_before(number, whole, tmp_path):
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["killed"])
    child = start.Process(target=killed.train_until_write, args=("teacher", str(tmp_path), number))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    steps = [int(file.stem) for file in sorted((tmp_path / "snapshots").glob("[0-9]*.safetensors"))]
    assert steps == [step for step in (number - 2, number - 1) if step > 0]
    assert_same(killed.teacher(tmp_path), whole["teacher"])


def test_ctrl_c_saves_says_how_to_continue_and_continues(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "save", RunFolder.save)  # put back after the test
    killed.interrupt_after(steps=8)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match=r"after epoch 2, step 2; .* the same call"):
        killed.teacher(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(read_history(tmp_path)) == 8
    assert_same(killed.teacher(tmp_path), whole["teacher"])


def test_a_finished_training_is_loaded_and_not_done_again(whole, tmp_path, monkeypatch):
    first = killed.teacher(tmp_path)
    monkeypatch.setattr("dakd.train.run.fit", None)
    again = killed.teacher(tmp_path)
    assert_same(again, first)
    assert again.seconds == first.seconds > 0


def stop_early(folder, steps=4):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save", RunFolder.save)
        killed.interrupt_after(steps)
        with pytest.raises(Stopped):
            killed.teacher(folder)


@pytest.mark.parametrize("finished", [False, True])
def test_another_configuration_is_refused_and_the_difference_shown(tmp_path, finished):
    killed.teacher(tmp_path) if finished else stop_early(tmp_path)
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")}
    with pytest.raises(TrainingError, match="other settings") as error:
        killed.teacher(tmp_path, lr=3e-3, schedule="onecycle")
    assert "teacher.lr: 0.001 there, 0.003 here" in str(error.value)
    assert "teacher.schedule: multistep there, onecycle here" in str(error.value)
    assert "epochs" not in str(error.value)
    assert kept == {p: p.read_bytes() for p in tmp_path.rglob("*.safetensors")}


def test_the_last_snapshots_are_kept_and_a_broken_one_is_passed_over(whole, tmp_path):
    stop_early(tmp_path, steps=5)
    files = sorted((tmp_path / "snapshots").iterdir())
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:1000])
    with pytest.warns(UserWarning, match="skipped"):
        assert_same(killed.teacher(tmp_path), whole["teacher"])


def test_how_it_is_computed_is_no_other_configuration(whole, tmp_path):
    stop_early(tmp_path)
    other = EngineConfig(workers=2, snapshot_seconds=1000)
    assert_same(killed.teacher(tmp_path, other), whole["teacher"])


def test_two_trainings_never_write_into_one_folder(tmp_path):
    with (
        open_run(tmp_path, {}, EngineConfig()),
        pytest.raises(TrainingError, match="another process is training"),
        open_run(tmp_path, {}, EngineConfig()),
    ):
        pass


def test_a_folder_that_cannot_be_written_to_is_noticed_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("dakd.train.run.fit", None)
    with pytest.raises(OSError, match="cannot write to .*; give another folder"):
        killed.teacher(tmp_path / "file" / "run")


def test_a_full_disk_is_noticed_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10**6))
    monkeypatch.setattr("dakd.train.run.fit", None)
    with pytest.raises(OSError, match=r"0\.0 GB free and its snapshots may need 0\.\d GB"):
        killed.teacher(tmp_path)


def test_a_disk_that_fills_up_costs_snapshots_and_not_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.train.snapshot.save_file", killed.refuse)
    with pytest.warns(UserWarning, match=r"no snapshot after \d+ steps: no space left"):
        assert is_complete(killed.teacher(tmp_path).folder)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no space left"),
        SafetensorError("I/O error: no space left"),
        RuntimeError("no space left"),
    ],
)
def test_whatever_a_library_raises_for_a_full_disk_is_one_error(tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("dakd.train.snapshot.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        write_snapshot(tmp_path / "0.safetensors", Snapshot({"x": torch.ones(2)}, {}), {})
    with pytest.warns(UserWarning, match=r"no snapshot after \d+ steps: .*no space left"):
        assert is_complete(killed.teacher(tmp_path / "run").folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits on the size of files")
def test_a_file_that_cannot_grow_costs_snapshots_and_not_the_training(tmp_path):
    code = (
        "import resource, sys, warnings, killed; warnings.simplefilter('ignore')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, 8_000_000))\n"
        "print(killed.teacher(killed.Path(sys.argv[1])).folder)"
    )
    how = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True}
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, **how)
    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path}\n"), ran.stderr


def fail_first(monkeypatch, times):
    """Let the first checkpoints fail; return what was tried."""
    save, tried = run.save_checkpoint, []
    monkeypatch.setattr("dakd.train.run_folder.RETRY_AFTER", (0, 0))

    def full(folder, *args, **kwargs):
        tried.append(sorted(file.stem for file in (folder / "snapshots").iterdir()))
        if len(tried) <= times:
            raise SafetensorError("no space left")
        return save(folder, *args, **kwargs)

    monkeypatch.setattr("dakd.train.run.save_checkpoint", full)
    return tried


def test_a_checkpoint_that_finds_no_room_is_given_that_of_old_snapshots(
    tmp_path, monkeypatch, whole
):
    tried = fail_first(monkeypatch, times=1)
    with pytest.warns(
        UserWarning, match="cannot be written: no space left; free disk space, the next attempt"
    ):
        trained = killed.teacher(tmp_path)
    assert [len(kept) for kept in tried] == [2, 1]
    assert is_complete(tmp_path)
    assert not (tmp_path / "snapshots").exists()
    assert_same(trained, whole["teacher"])


def test_a_checkpoint_that_is_never_written_stays_in_memory_and_is_found_again(
    tmp_path, monkeypatch, whole
):
    tried = fail_first(monkeypatch, times=9)
    with pytest.warns(UserWarning, match="in memory only, .* continues from the last snapshot"):
        trained = killed.teacher(tmp_path)
    assert len(tried) == 3
    assert trained.folder is None
    assert_same(trained, whole["teacher"])
    assert (tmp_path / "snapshots" / f"{tried[-1][0]}.safetensors").is_file()
    tried += [[]] * 9
    again = killed.teacher(tmp_path)
    assert again.folder == tmp_path
    assert_same(again, whole["teacher"])


def rewrite(file, *, drop=(), metadata=None, **changed):
    """Write a snapshot again, well-formed, with other content."""
    snapshot = read_snapshot(file)
    tensors = {k: v for k, v in snapshot.tensors.items() if k not in drop} | changed
    settings = snapshot.metadata.pop("settings")
    kept = {k: v for k, v in snapshot.metadata.items() if k not in drop}
    write_snapshot(file, Snapshot(tensors, kept | (metadata or {})), settings)


FOREIGN = {
    "generator": {"drop": ["generator"]},
    "memory": {"drop": ["memory.visible.values"]},
    "rows": {"drop": ["rows"]},
    "stage": {"metadata": {"stage": 7}},
    "optimiser": {"drop": ["optimiser.0.exp_avg"]},
    "lacks steps": {"metadata": {"rows": 99}},
    "its epoch is not a whole number": {"metadata": {"epoch": None}},
    "generator ": {"generator": torch.zeros(3, dtype=torch.uint8)},
}


@pytest.mark.filterwarnings("ignore:.*skipped")
@pytest.mark.parametrize("what", FOREIGN)
def test_a_snapshot_of_another_version_is_passed_over_or_named(tmp_path, whole, what):
    stop_early(tmp_path, steps=8)
    older, newest = sorted((tmp_path / "snapshots").iterdir())
    rewrite(newest, **FOREIGN[what])
    kept = older.read_bytes()
    older.unlink()
    with pytest.raises(
        TrainingError, match=rf"cannot be continued.*{what.strip()}.*Delete the folder"
    ):
        killed.teacher(tmp_path)
    older.write_bytes(kept)
    assert_same(killed.teacher(tmp_path), whole["teacher"])


@pytest.mark.filterwarnings("ignore:.*skipped")
def test_snapshots_that_are_all_damaged_are_named_and_kept(tmp_path):
    stop_early(tmp_path)
    files = sorted((tmp_path / "snapshots").iterdir())
    for file in files:
        file.write_bytes(b"broken")
    with pytest.raises(TrainingError, match=rf"{files[-1].name} cannot be read.*Delete the folder"):
        killed.teacher(tmp_path)
    assert sorted((tmp_path / "snapshots").iterdir()) == files


def test_one_changed_bit_of_a_snapshot_is_noticed(tmp_path, whole):
    stop_early(tmp_path)
    newest = sorted((tmp_path / "snapshots").iterdir())[-1]
    content, rng = newest.read_bytes(), random.Random(0)
    for _ in range(50):
        place = rng.randrange(len(content))
        newest.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises((ValueError, OSError)):
            read_snapshot(newest)
    with pytest.warns(UserWarning, match="skipped"):
        assert_same(killed.teacher(tmp_path), whole["teacher"])


def test_a_finished_network_without_its_seconds_is_loaded(tmp_path):
    killed.teacher(tmp_path)
    file = tmp_path / "checkpoint.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps({**description, "metrics": {}}))
    assert math.isnan(killed.teacher(tmp_path).seconds)


def test_snapshots_follow_the_clock(tmp_path, monkeypatch):
    run = RunFolder(tmp_path, {}, EngineConfig(snapshot_seconds=100))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert not run.snapshot_due
    now += 101
    assert run.snapshot_due
    run.save(7, Snapshot({"x": torch.ones(2)}, {"rows": 7}))
    assert not run.snapshot_due
    assert run.latest().tensors["x"].tolist() == [1, 1]
    assert not RunFolder(None, {}, EngineConfig(snapshot_seconds=0)).snapshot_due
    assert not RunFolder(
        tmp_path, {}, EngineConfig(snapshot_seconds=0), DistributedContext(1, 2)
    ).snapshot_due


def test_what_the_optimiser_continues_with_lies_as_its_weights_do(tmp_path):
    stop_early(tmp_path)
    config = TeacherConfig(**{**killed.SMALL, "identity_epochs": 2})
    where = {"seed": 0, "device": "cpu", "precision": "float32"}
    images = killed.image_set(range(1, 9))
    state = TrainState(
        build_model("small"),
        IdentityObjective(images, replace(config, epochs=2), dim=256, **where),
        config,
    )
    (newest,) = sorted((tmp_path / "snapshots").iterdir())[-1:]
    state.load_state_dict(read_snapshot(newest))
    moments = state.optimiser.state
    kernels = [p for p in moments if p.ndim == 4 and p.shape[2] > 1]
    assert len(kernels) == 9
    assert all(moments[p]["exp_avg"].stride() == p.stride() for p in kernels)


def test_a_snapshot_that_could_not_be_read_makes_room_for_good_ones(tmp_path):
    run = RunFolder(tmp_path, {}, EngineConfig(keep_snapshots=2))
    folder = tmp_path / "snapshots"
    run.save(3, Snapshot({"x": torch.ones(2)}, {"rows": 3}))
    (folder / "000000009.safetensors").write_bytes(b"broken")
    for step in (4, 5):
        run.save(step, Snapshot({"x": torch.ones(2)}, {"rows": step}))
    assert [file.stem for file in sorted(folder.iterdir())] == ["000000004", "000000005"]


def test_weights_that_are_not_finite_are_no_snapshot(tmp_path):
    run = RunFolder(tmp_path, {}, EngineConfig())
    bad = Snapshot({"model.w": torch.tensor([1.0, float("nan")])}, {"rows": 3})
    with pytest.raises(TrainingError, match=r"model\.w not finite after 3 steps"):
        run.save(3, bad)
    assert run.latest() is None


def test_stop_requests_on_a_full_disk_the_error_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.train.snapshot.save_file", killed.refuse)
    monkeypatch.setattr("dakd.train.run_folder.stop_requests", lambda: nullcontext(lambda: True))
    with pytest.raises(OSError, match="no space left"):
        killed.teacher(tmp_path)


def test_snapshots_that_outlived_their_training_are_cleared(tmp_path):
    killed.teacher(tmp_path)
    (tmp_path / "snapshots").mkdir()
    killed.teacher(tmp_path)
    assert not (tmp_path / "snapshots").exists()


def test_nan_ends_the_training_and_keeps_the_snapshots(tmp_path, monkeypatch):
    from dakd.train.teacher import TeacherObjective

    loss = TeacherObjective.loss

    def broken(self, model, batch):
        terms = loss(self, model, batch)
        return terms._replace(total=terms.total * float("nan"))

    monkeypatch.setattr(TeacherObjective, "loss", broken)
    with pytest.raises(TrainingError, match=r"loss not finite at epoch 2, "):
        killed.teacher(tmp_path)
    assert len(read_history(tmp_path)) == 6  # the steps before it
    assert sorted(p.stem for p in (tmp_path / "snapshots").iterdir())[-1] == "000000006"


def test_the_weights_at_the_start_belong_to_the_settings(tmp_path):
    stop_early(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(killed, "build_model", lambda name: build_model(name, seed=9))
        with pytest.raises(TrainingError, match=r"start: \w+ there, \w+ here"):
            killed.teacher(tmp_path)
