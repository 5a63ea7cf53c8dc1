"""A configuration and everything it has made so far: data, networks, embeddings, results.

The notebooks and the command line ask an `Experiment` for what they need. What a configuration
has already trained is found in the run folder, and trained when missing.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import Tensor

from dakd.checkpoint import is_complete, load_checkpoint
from dakd.config import Config, fingerprint, to_dict
from dakd.data import Dataset, load_dataset
from dakd.data.synthetic import export_sysu, picture_fingerprint
from dakd.distill import Pair
from dakd.evaluate import Result, evaluate, extract
from dakd.model import ReIDModel, build_model
from dakd.objectives import class_centres
from dakd.runtime import source_fingerprint
from dakd.train import Trained, train_student, train_teacher

TRAINED_BY = (  # changed code trains again
    *("augment.py", "distill.py", "losses.py", "memory.py", "model.py", "objectives.py"),
    *("train.py", "data/sampler.py"),
)
METHODS = ("untrained", "teacher", "only_kd", "full_mlkd")
Mode = Literal["all", "indoor"]
SETTINGS: tuple[tuple[Mode, int], ...] = (("all", 1), ("all", 10), ("indoor", 1), ("indoor", 10))


def runs_folder() -> Path:
    """Return where runs are kept: ``$DAKD_RUNS``, else ``runs/`` of the checkout or of here."""
    if os.environ.get("DAKD_RUNS"):
        return Path(os.environ["DAKD_RUNS"])
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"


class Experiment:
    """The work that belongs to one configuration, shared by all notebooks.

    Args:
        config: see `dakd.config.load_profile`.
        runs: folder of all runs; by default `runs_folder`.
        show: show progress bars.
    """

    def __init__(
        self, config: Config, *, runs: str | Path | None = None, show: bool = True
    ) -> None:
        self.config = config
        self.folder = Path(runs or runs_folder()) / config.profile
        self.show = show
        self._dataset: Dataset | None = None
        self._trained: dict[str, Trained] = {}
        self._embeddings: dict[tuple[int, str], tuple[ReIDModel, Tensor]] = {}

    @property
    def figures(self) -> Path:
        """The folder of the pictures that the notebooks save."""
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def dataset(self) -> Dataset:
        """The images; the embedded benchmark is exported and read back as SYSU-MM01 would be."""
        if self._dataset is None:
            data = self.config.data
            size, root = {"height": data.height, "width": data.width}, data.root
            if data.name == "sysu" and root is None:
                name = f"sysu-synthetic-{picture_fingerprint(data.synthetic, **size)}"
                root = str(self.folder / "data" / name)
                export_sysu(data.synthetic, root, **size, show=self.show)
            self._dataset = load_dataset(
                data.name, root, **size, synthetic=data.synthetic, keep=data.keep
            )
        return self._dataset

    def untrained(self) -> ReIDModel:
        """Return the network as it is before any training of ours."""
        model = self.config.model
        return build_model(
            model.backbone, model.pooling, model.weights, seed=self.config.seed
        ).eval()

    def teacher(self) -> Trained:
        """Return the trained teacher."""
        c = self.config
        data = (c.data, self.dataset.fingerprint)
        code = source_fingerprint(*TRAINED_BY)
        key = fingerprint(*data, c.model, c.teacher, c.seed, c.precision, code)

        def train(folder: Path) -> Trained:
            images = self.dataset.train
            return train_teacher(self.untrained(), images, c.teacher, **self._how(folder))

        return self._find(f"teacher-{key}", train)

    def _how(self, folder: Path) -> dict[str, Any]:
        c = self.config
        how = {"seed": c.seed, "device": c.device, "precision": c.precision}
        notes = {"experiment": to_dict(c), "data_fingerprint": self.dataset.fingerprint}
        return {**how, "folder": folder, "notes": notes, "show": self.show}

    def student(
        self, ablation: str | None = None, preset: str | None = None, **changes: Any
    ) -> Trained:
        """Return the trained student; without arguments that of the configuration.

        Args:
            ablation, preset: see `dakd.config.StudentConfig`.
            changes: other fields of it.
        """
        c = self.config
        given = {"ablation": ablation, "preset": preset, **changes}
        wanted = replace(c.student, **{k: v for k, v in given.items() if v is not None})
        teacher = self.teacher()
        key = fingerprint(str(teacher.folder and teacher.folder.name), wanted)

        def train(folder: Path) -> Trained:
            start = self.untrained()
            if wanted.init == "teacher":
                start.load_state_dict(teacher.model.state_dict())
            images = self.dataset.train
            return train_student(start, teacher.model, images, wanted, **self._how(folder))

        return self._find(f"student-{wanted.ablation}-{wanted.preset}-{key}", train)

    def _find(self, name: str, train: Callable[[Path], Trained]) -> Trained:
        if name not in self._trained:
            folder = self.folder / "models" / name
            if is_complete(folder):
                model, history, _ = load_checkpoint(folder)
                self._trained[name] = Trained(model, history, folder)
            else:
                self._trained[name] = train(folder)
        return self._trained[name]

    def method(self, name: str) -> ReIDModel:
        """Return the network of a row of the benchmark: one of `METHODS`."""
        if name == "untrained":
            return self.untrained()
        return self.teacher().model if name == "teacher" else self.student(ablation=name).model

    def embeddings(self, model: ReIDModel, split: str = "test") -> Tensor:
        """Return the embeddings (N, D) of a split, computed once a network."""
        key = (id(model), split)
        if key not in self._embeddings:
            images = getattr(self.dataset, split)
            batch, device = self.config.evaluation.batch, self.config.device
            # The network is kept too, so that its id stays its own.
            self._embeddings[key] = (model, extract(model, images, batch=batch, device=device))
        return self._embeddings[key][1]

    def centres(self, model: ReIDModel) -> Pair:
        """Return the class centres (K, D) of the training split in either modality."""
        return class_centres(self.embeddings(model, "train"), self.dataset.train)

    def evaluate(self, model: ReIDModel, mode: Mode = "all", shots: int = 1) -> Result:
        """Return the benchmark table of a network in one setting of the protocol."""
        e = self.config.evaluation
        z = self.embeddings(model)
        return evaluate(
            z, self.dataset, mode=mode, shots=shots, sampling=e.sampling, trials=e.trials
        )


def reproduce(
    config: Config, seeds: tuple[int, ...] = (0, 1, 2), *, show: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train and measure every method for every seed.

    Returns:
        A table and how it was made. The table: seed, method, mode, shots; the mean over trials of
        rank1, rank5, rank10, rank20, mAP and mINP, as fractions; and their standard deviation over
        trials, in columns that end in ``_std``.
    """
    rows: list[dict[str, Any]] = []
    headers: dict[str, Any] = {}
    for seed in seeds:
        lab = Experiment(replace(config, seed=seed), show=show)
        for name in METHODS:
            model = lab.method(name)
            for mode, shots in SETTINGS:
                result = lab.evaluate(model, mode, shots)
                spread = result.std.add_suffix("_std")
                place = {"seed": seed, "method": name, "mode": mode, "shots": shots}
                rows.append({**place, **result.mean, **spread})
                headers[f"{mode}-{shots}"] = {**result.header, "trials": len(result.trials)}
    record = {
        "seeds": list(seeds),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "training_code": source_fingerprint(*TRAINED_BY),
        "settings": headers,
        "config": to_dict(config),
    }
    return pd.DataFrame(rows), record
