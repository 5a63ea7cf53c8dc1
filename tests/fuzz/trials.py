"""Good inputs, and what must hold after one of them was damaged."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from dakd.cli import main
from dakd.model import build_model
from dakd.train.checkpoint import load_checkpoint, save_checkpoint, weights_fingerprint
from dakd.train.run_folder import RunFolder

from . import damage

SMALL = ["--profile", "smoke", "--device", "cpu"]
SHORT = [f"--{who}.{what}" for who in ("teacher", "student") for what in ("epochs", "steps")]
SHORT = [word for option in SHORT for word in (option, "2")]
LIMIT = 120  # seconds until a command hangs


class Hang(BaseException):
    """A command did not end."""


def dakd(*words: object) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()

    def end(*about: object) -> None:
        raise Hang(f"no end after {LIMIT} s")

    alarm = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, end) if alarm else None
    if alarm:
        signal.alarm(LIMIT)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            code = main([str(word) for word in words])
    except SystemExit as end_of_parsing:  # an option that cannot be read
        code = int(end_of_parsing.code or 0)
    finally:
        if alarm:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
    return code, out.getvalue(), err.getvalue()


class Trials:
    """Damages copies of good inputs and runs the commands that read them.

    Args:
        folder: an empty one, for all that is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.good = folder, folder / "good"
        self.kinds: dict[str, Callable[[Path, random.Random], str]] = {
            "image": self.image,
            "table": self.table,
            "checkpoint": self.checkpoint,
            "snapshot": self.snapshot,
            "description": self.description,
            "results": self.results,
        }
        people = ["--height", 32, "--width", 16, "--train-ids", 4, "--test-ids", 20]
        people += ["--images-per-camera", 2, "--layout", "custom"]
        self._done("export", "--root", self.good / "people", *people)
        rows = pd.DataFrame({"epoch": [0], "step": [0], "loss": [1.0]})
        data = {"name": "custom", "height": 32, "width": 16, "trial": 1}
        about = {"experiment": {"data": data}, "data_fingerprint": "x"}
        how = {"config": about, "history": rows, "metrics": {"seconds": 1.0}}
        save_checkpoint(self.good / "net", build_model("small", seed=0), **how)
        self._done(*self.evaluate(self.good))
        self.numbers = [record["mean"] for record in self.records(self.good)]
        shutil.rmtree(self.good / "out")
        with self._runs(self.good / "whole"):
            self._done(*self.train(self.good))
        (whole,) = (self.good / "whole").rglob("checkpoint.json")
        self.weights = weights_fingerprint(load_checkpoint(whole.parent)[0])
        with self._runs(self.good / "runs"), _stopped_after(3):
            assert dakd(*self.train(self.good), "--engine.snapshot-seconds", 0)[0] == 130
        with self._runs(self.good / "other"):
            self._done(*self.reproduce(self.good))

    def run(self, number: int) -> str:
        """Make one trial, the same for the same number; return what was done, or raise."""
        rng = random.Random(number)
        names = list(self.kinds)
        name = names[number % len(names)]
        place = self.folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.good, place)
        with self._runs(place / ("runs" if name == "snapshot" else "other")):
            return f"{name}: {self.kinds[name](place, rng)}"

    def image(self, place: Path, rng: random.Random) -> str:
        """No check: a picture may stay one, with other pixels."""
        file = rng.choice(sorted((place / "people").rglob("*.png")))
        how = damage.bytes_of(file, rng)
        return f"{how}, {self._codes(self.verify(place), self.evaluate(place))}"

    def table(self, place: Path, rng: random.Random) -> str:
        """A table of other people gives other numbers, but no others than shares."""
        file = place / "people" / "people.csv"
        how = damage.table(file, rng) if rng.random() < 0.7 else damage.bytes_of(file, rng)
        codes = self._codes(self.verify(place), self.evaluate(place))
        for record in self.records(place):
            assert all(0 <= value <= 1 for value in record["mean"].values()), how
        return f"{how}, {codes}"

    def checkpoint(self, place: Path, rng: random.Random) -> str:
        """The numbers of the network, or none."""
        file = place / "net" / rng.choice(["model.safetensors"] * 3 + ["history.jsonl"])
        how = f"{file.name} {damage.bytes_of(file, rng)}"
        return f"{how}, {self._same_numbers(place, how)}"

    def description(self, place: Path, rng: random.Random) -> str:
        """The numbers of the network, or none."""
        file = place / "net" / "checkpoint.json"
        how = damage.values_of(file, rng) if rng.random() < 0.8 else damage.bytes_of(file, rng)
        return f"{how}, {self._same_numbers(place, how)}"

    def snapshot(self, place: Path, rng: random.Random) -> str:
        """The weights of the training that nobody disturbed, or none."""
        files = sorted(
            p for p in (place / "runs").rglob("*") if p.suffix in (".safetensors", ".jsonl")
        )
        file = rng.choice([f for f in files if "snapshots" in f.parts or f.name == "history.jsonl"])
        how = f"{file.name} {damage.bytes_of(file, rng)}"
        code = self._codes(self.train(place))
        for done in (place / "runs").rglob("checkpoint.json"):
            assert weights_fingerprint(load_checkpoint(done.parent)[0]) == self.weights, how
        return f"{how}, {code}"

    def results(self, place: Path, rng: random.Random) -> str:
        """Shares in the table, and a description of each row."""
        file = place / "tables" / f"ablation_smoke.{rng.choice(['csv', 'json'])}"
        change = damage.table if file.suffix == ".csv" else damage.values_of
        how = f"{file.name} {(change if rng.random() < 0.7 else damage.bytes_of)(file, rng)}"
        codes = self._codes(self.reproduce(place))
        if codes == "0":
            rows = pd.read_csv(place / "tables" / "ablation_smoke.csv")
            assert rows.filter(like="/").stack().between(0, 1).all(), how
        return f"{how}, {codes}"

    def verify(self, place: Path) -> tuple[object, ...]:
        """A command that may find a fault."""
        return ("verify", "custom", place / "people" / "people.csv")

    def evaluate(self, place: Path) -> tuple[object, ...]:
        """Measure the network."""
        people = ("--data.name", "custom", "--data.root", place / "people" / "people.csv")
        return ("evaluate", *SMALL, *people, "--checkpoint", place / "net", "--out", place / "out")

    def train(self, place: Path) -> tuple[object, ...]:
        """Train a few steps."""
        people = ("--data.name", "custom", "--data.root", place / "people" / "people.csv")
        few = ("--teacher.identities", 4)
        return ("train", *SMALL, *SHORT, *people, *few, "--only", "teacher")

    def reproduce(self, place: Path) -> tuple[object, ...]:
        """Fill a table."""
        people = ("--data.name", "custom", "--data.root", place / "people" / "people.csv")
        runs = ("--runs", "untrained", "--seeds", 0, 1)
        return ("reproduce", *SMALL, *people, *runs, "--out", place / "tables")

    def records(self, place: Path) -> list[dict]:
        """Return the records of what was measured."""
        return [json.loads(path.read_text()) for path in sorted((place / "out").rglob("*.json"))]

    def _same_numbers(self, place: Path, how: str) -> str:
        code = self._codes(self.evaluate(place))
        if code == "0":
            assert [record["mean"] for record in self.records(place)] == self.numbers, how
        return code

    def _codes(self, *commands: tuple[object, ...]) -> str:
        codes = []
        for command in commands:
            code, out, err = dakd(*command)
            assert code in (0, 1, 2), (code, err)
            assert "Traceback" not in out + err, err
            assert code != 2 or err.strip(), "exit code 2 without a word"
            codes.append(str(code))
        return " ".join(codes)

    def _done(self, *command: object) -> None:
        code, _, err = dakd(*command)
        assert code == 0, err

    @contextlib.contextmanager
    def _runs(self, folder: Path) -> Iterator[None]:
        before = os.environ.get("DAKD_RUNS")
        os.environ["DAKD_RUNS"] = str(folder)
        try:
            yield
        finally:
            os.environ.pop("DAKD_RUNS") if before is None else os.environ.update(DAKD_RUNS=before)


@contextlib.contextmanager
def _stopped_after(steps: int) -> Iterator[None]:
    """Press Ctrl-C after so many snapshots."""
    save, done = RunFolder.save, []

    def counted(self: RunFolder, *about: object) -> None:
        save(self, *about)
        done.append(about)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)

    RunFolder.save = counted
    try:
        yield
    finally:
        RunFolder.save = save
