"""An experiment: a configuration with its dataset, networks, embeddings and results.

Notebooks and commands get these from an `Experiment`. Networks that a configuration has already
trained are loaded from the run folder; missing ones are trained.
"""

import copy
import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from dakd.augment import Augmentation
from dakd.config import IMAGE_FIELDS, Config, ScheduleConfig, TeacherConfig, fingerprint, to_dict
from dakd.data import Dataset, load_dataset
from dakd.data.export import export_dataset
from dakd.data.synthetic import image_fingerprint
from dakd.distill import ByModality, DAKDLoss
from dakd.evaluate.embed import extract
from dakd.evaluate.evaluation import evaluate
from dakd.evaluate.request import PROTOCOL_OF, SETTINGS, setting_name
from dakd.evaluate.result import Result
from dakd.model import ReIDModel, build_model
from dakd.protocols import Modality
from dakd.released import BothStems, extract_two_stems, load_released, measured_at
from dakd.runtime import pick_device, pick_precision, require, source_fingerprint
from dakd.train.checkpoint import WEIGHTS, CheckpointError, is_complete, load_checkpoint
from dakd.train.objective import training_augmentations
from dakd.train.run import TrainingResult, with_both_modalities
from dakd.train.student import class_centres, train_student
from dakd.train.teacher import train_teacher

TRAINING_SOURCES = (  # networks are trained again after a change of this code
    *("augment", "batchnorm.py", "distill.py", "losses", "memory.py", "model.py", "runtime.py"),
    *("evaluate/embed.py", "train/distributed.py", "train/loop.py", "train/objective.py"),
    *("train/run.py", "train/selection.py", "train/state.py", "train/student.py"),
    *("train/teacher.py", "data/decoding.py", "data/records.py", "data/sampler.py"),
)


@functools.cache
def training_code() -> str:
    """Return the digest of the training code when this process first called it."""
    return source_fingerprint(*TRAINING_SOURCES)


def runs_folder() -> Path:
    """Return ``$DAKD_RUNS``, or ``runs`` in the checkout or else in the current folder."""
    if os.environ.get("DAKD_RUNS"):
        return Path(os.environ["DAKD_RUNS"]).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"


def _file_digest(weights: str | None) -> str:
    """Return the digest of a weights file; empty for named weights such as ``"imagenet"``."""
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:10]


class NotTrainedError(LookupError):
    """A network is not in the run folder, and the experiment does not train (``train=False``)."""


class Experiment:
    """Dataset, networks, embeddings and results of one configuration, computed when needed.

    Args:
        config: see `dakd.config.load_profile`.
        runs: folder of all runs; by default `runs_folder`.
        show: show progress bars.
        train: train missing networks; otherwise a missing network raises `NotTrainedError`.
        teacher: a trained teacher to use instead of training one: a checkpoint folder of this
            package, or a file published by the authors of MCE or DAKD.
    """

    def __init__(
        self,
        config: Config,
        *,
        runs: str | Path | None = None,
        show: bool = True,
        train: bool = True,
        teacher: str | Path | None = None,
    ) -> None:
        precision: Any = pick_precision(config.precision, pick_device(config.device))
        self.config, self.train = replace(config, precision=precision), train
        self.teacher_path = None if teacher is None else Path(teacher).expanduser()
        self.folder = Path(runs or runs_folder()).expanduser() / config.profile
        self.show = show
        self.metadata: dict[str, Any] = {}  # further entries of the results' headers
        self._trained: dict[str, TrainingResult] = {}
        self._embeddings: dict[tuple[int, str], tuple[ReIDModel | BothStems, Tensor]] = {}

    @property
    def figures(self) -> Path:
        """The folder of the figures that the notebooks save."""
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The dataset; without a root, the embedded benchmark in the dataset's layout."""
        data, root = self.config.data, self.config.data.root
        if data.name != "synthetic" and root is None:
            root = str(self._export(data.name))
        return load_dataset(
            data.name,
            root,
            height=data.height,
            width=data.width,
            filter=data.filter,
            synthetic=data.synthetic,
            trial=data.trial if data.name == "regdb" else None,
            keep=data.keep,
            cache=self.folder / "cache" if data.cache else None,
            show=self.show,
        )

    @property
    def data_key(self) -> tuple[Any, ...]:
        """The identity of the dataset: its content and how images are read, but not its path."""
        data = self.config.data
        image_filter = "" if data.name == "synthetic" else data.filter
        return (data.name, data.height, data.width, image_filter, self.dataset.fingerprint)

    def _export(self, layout: Literal["sysu", "regdb", "llcm", "custom"]) -> Path:
        """Write the embedded benchmark in a dataset's layout; return the root to load."""
        data = self.config.data
        size: dict[str, Any] = {"height": data.height, "width": data.width}
        name = f"{layout}-synthetic-{image_fingerprint(data.synthetic, **size, layout=layout)}"
        root = self.folder / "data" / name
        export_dataset(layout, data.synthetic, root, **size, show=self.show, warn=False)
        return root / "people.csv" if layout == "custom" else root

    def untrained(self) -> ReIDModel:
        """Return the network before training."""
        m = self.config.model
        return build_model(
            m.backbone, m.pooling, m.weights, non_local=m.non_local, seed=self.config.seed
        ).eval()

    def teacher(self) -> TrainingResult:
        """Return the trained teacher, or the one passed to the constructor."""
        if self.teacher_path is not None:
            if "given" not in self._trained:
                self._trained["given"] = self._load_teacher(self.teacher_path)
            return self._trained["given"]
        c = self.config

        def train(folder: Path) -> TrainingResult:
            images = self.dataset.train
            return train_teacher(self.untrained(), images, c.teacher, **self._arguments(folder))

        return self._load_or_train(f"teacher-{self._key(c.teacher)}", train)

    def _key(self, schedule: ScheduleConfig, *teacher: str) -> str:
        """Return the digest of everything that a training depends on."""
        c, e = self.config, self.config.evaluation
        weights = _file_digest(c.model.weights) or c.model.weights
        common = (replace(c.model, weights=weights), c.seed, c.precision, training_code())
        selection = (e.protocol, e.sampling, e.trials) if schedule.selects_on_test else ()
        return fingerprint(*teacher, *self.data_key, *common, schedule, *selection)

    def _load_teacher(self, path: Path) -> TrainingResult:
        """Return the teacher at `path` after checking that it fits configuration and data."""
        source: dict[str, Any] = {"file": path.name}
        if path.is_file():
            model, report = load_released(path)
            classes, split = report.classes, None
            source |= {"digest": report.digest, "family": report.family}
            with suppress(ValueError):  # the family was not published for this dataset
                source |= measured_at(report.family, self.config.data.name)
        else:
            if not path.exists():
                raise CheckpointError(
                    f"{path} is neither a checkpoint folder nor a published file; give the path of "
                    "a trained teacher"
                )
            model, _, description = load_checkpoint(path)
            config = description["config"]
            classes, split = config.get("classes"), config.get("data_fingerprint")
            digest = _file_digest(str(path / WEIGHTS))
            source |= {"digest": digest, "trained": config.get("teacher")}
            source["chosen"] = config.get("selection", "last epoch")
            source |= model.trained_at
        self._check_teacher(path, model, source, classes, split)
        return TrainingResult(model, pd.DataFrame(), source={**source, "classes": classes})

    def _check_teacher(
        self, path: Path, model: ReIDModel, source: dict[str, Any], classes: int | None, split: Any
    ) -> None:
        """Check a teacher's architecture, number of identities, and training images."""
        m = self.config.model
        with torch.device("meta"):  # without memory for the weights
            expected = ReIDModel(m.backbone, m.pooling, non_local=m.non_local).architecture
        require(
            model.architecture == expected,
            f"the architecture of the teacher {path} is {model.architecture}, that of the "
            f"configuration is {expected}; set --model.backbone, --model.pooling and "
            "--model.non-local to the teacher's",
        )
        identities = with_both_modalities(self.dataset.train).num_classes
        require(
            classes in (None, identities),
            f"the teacher {path} was trained on {classes} identities, and {self.dataset.name} has "
            f"{identities}; give the dataset that it was trained on",
        )
        for name in IMAGE_FIELDS:
            actual = getattr(self.config.data, name)
            if (trained := source.get(name, actual)) != actual:
                text = f"the teacher {path} is for images of {name} {trained}, not {actual}"
                require("family" in source, f"{text}; set --data.{name} {trained}")
                warnings.warn(f"{text}, and may be less accurate here", stacklevel=4)
        require(
            split in (None, self.dataset.fingerprint),
            f"the teacher {path} was trained on other images (data {split}, not "
            f"{self.dataset.fingerprint}), which may show test identities of this dataset; give "
            "the dataset and the trial that it was trained on",
        )

    def _arguments(self, folder: Path) -> dict[str, Any]:
        """Return the keyword arguments that all trainings share."""
        c = self.config
        metadata = {"experiment": to_dict(c), "data_fingerprint": self.dataset.fingerprint}
        if self.teacher_path is not None:
            metadata["given_teacher"] = dict(self.teacher().source)
        arguments = {n: getattr(c, n) for n in ("seed", "device", "precision", "engine")}
        arguments |= {"folder": folder, "metadata": metadata, "show": self.show}
        return {**arguments, "test_score": self._test_score}

    def student(
        self, ablation: str | None = None, preset: str | None = None, **changes: Any
    ) -> TrainingResult:
        """Return the trained student; by default that of the configuration.

        Args:
            ablation, preset, changes: fields of `dakd.config.StudentConfig` to replace.
        """
        changes |= {"ablation": ablation, "preset": preset}
        changes = {name: value for name, value in changes.items() if value is not None}
        schedule = replace(self.config.student, **changes)
        # Raises on invalid switches before the teacher is trained.
        DAKDLoss(schedule.preset, schedule.ablation, **schedule.distill.overrides)
        teacher = self.teacher()

        def train(folder: Path) -> TrainingResult:
            model, images = self.untrained(), self.dataset.train
            if schedule.init == "teacher":
                model.load_state_dict(teacher.model.state_dict())
            arguments = self._arguments(folder)
            return train_student(model, teacher.model, images, schedule, **arguments)

        key = self._key(schedule, teacher.name)
        return self._load_or_train(f"student-{schedule.ablation}-{schedule.preset}-{key}", train)

    def _test_score(self, model: ReIDModel) -> float:
        """Return the mean mAP over all galleries of the protocol's first setting.

        That is all-search, single-shot for SYSU-MM01, and visible -> infrared for RegDB and LLCM.
        """
        names, c = ("protocol", "sampling", "trials", "batch"), self.config
        settings = {name: getattr(c.evaluation, name) for name in names} | self.settings[0]
        return float(evaluate(model, self.dataset, device=c.device, **settings).mean["mAP"])

    def continued(self) -> TrainingResult:
        """Return the teacher trained further with its own objective on the student's schedule.

        This is the control of equal compute: the same number of steps without distillation.
        """
        c, teacher = self.config, self.teacher()
        values = {f.name: getattr(c.student, f.name) for f in fields(ScheduleConfig)}
        values |= {n: getattr(c.teacher, n) for n in ("cutswap", "selection", "weight_decay")}
        schedule = TeacherConfig(**values)

        def train(folder: Path) -> TrainingResult:
            model = copy.deepcopy(teacher.model)
            arguments = {**self._arguments(folder), "seed": c.seed + 1}  # different batches
            return train_teacher(model, self.dataset.train, schedule, **arguments)

        return self._load_or_train(f"continued-{self._key(schedule, teacher.name)}", train)

    def _load_or_train(self, name: str, train: Callable[[Path], TrainingResult]) -> TrainingResult:
        if name not in self._trained:
            folder = self.folder / "models" / name
            if is_complete(folder):
                model, history, description = load_checkpoint(folder)
                seconds = description["metrics"].get("seconds", float("nan"))
                self._trained[name] = TrainingResult(model, history, folder, seconds)
            elif self.train:
                self._trained[name] = train(folder)
            else:
                c = self.config
                raise NotTrainedError(
                    f"the {name.partition('-')[0]} of seed {c.seed} is not in {folder}; "
                    f"`dakd train --profile {c.profile} --seed {c.seed}` trains teacher and student"
                )
        return self._trained[name]

    def embeddings(self, model: ReIDModel | BothStems, split: str = "test") -> Tensor:
        """Return the embeddings (N, D) of a split, computed once per network."""
        key = (id(model), split)
        if key not in self._embeddings:
            images, e = getattr(self.dataset, split), self.config.evaluation
            flip = e.flip and split == "test"
            function: Any = extract if isinstance(model, ReIDModel) else extract_two_stems
            z = function(model, images, batch=e.batch, device=self.config.device, flip=flip)
            self._embeddings[key] = (model, z)  # a reference to the network keeps its id unique
        return self._embeddings[key][1]

    def augmentations(self) -> dict[Modality, Augmentation]:
        """Return the augmentation of each modality in the student's training."""
        return training_augmentations(self.config.student, self.dataset.train)

    def centres(self, model: ReIDModel) -> ByModality:
        """Return the class centres (K, D) of the training split in each modality."""
        return class_centres(self.embeddings(model, "train"), self.dataset.train)

    @property
    def settings(self) -> tuple[dict[str, Any], ...]:
        """The settings of the protocol that papers report."""
        protocol = self.config.evaluation.protocol
        return SETTINGS[PROTOCOL_OF[self.dataset.name] if protocol == "auto" else protocol]

    def evaluate_all(
        self, model: ReIDModel | BothStems, *, rerank: bool | None = None
    ) -> dict[str, Result]:
        """Return the results of a network in every setting of the protocol, by `setting_name`.

        Args:
            model: the network, or the two of a family with two stems (see `dakd.released`).
            rerank: k-reciprocal re-ranking; by default as configured.
        """
        return {
            setting_name(setting): self.evaluate(model, rerank=rerank, **setting)
            for setting in self.settings
        }

    def evaluate(
        self,
        model: ReIDModel | BothStems,
        mode: Literal["all", "indoor"] = "all",
        shots: int = 1,
        *,
        rerank: bool | None = None,
        **direction: Any,
    ) -> Result:
        """Return the result of a network in one setting of the protocol.

        Args:
            model: the network.
            mode, shots: of SYSU-MM01's protocol.
            rerank: k-reciprocal re-ranking; by default as configured.
            direction: ``query`` and ``gallery``, for protocols with two directions.
        """
        c, settings = self.config, vars(self.config.evaluation)
        trained = next((t for t in self._trained.values() if t.model is model), None)
        metadata = {"network": trained.name if trained else ""}
        metadata |= {name: getattr(c.data, name) for name in IMAGE_FIELDS} | {"seed": c.seed}
        return evaluate(
            lambda: self.embeddings(model),
            self.dataset,
            mode=mode,
            shots=shots,
            device=c.device,
            metadata=metadata | self.metadata,
            **settings | direction | ({} if rerank is None else {"rerank": rerank}),
        )
