"""A configuration and everything it has made so far: data, networks, embeddings, results.

The notebooks and the command line ask an `Experiment` for what they need. What a configuration
has already trained is found in the run folder, and trained when missing.
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

TRAINED_BY = (  # changed code trains again
    *("augment", "batchnorm.py", "distill.py", "losses", "memory.py", "model.py", "runtime.py"),
    *("evaluate/embed.py", "train/distributed.py", "train/loop.py", "train/objective.py"),
    *("train/run.py", "train/selection.py", "train/state.py", "train/student.py"),
    *("train/teacher.py", "data/decoding.py", "data/records.py", "data/sampler.py"),
)


@functools.cache
def training_code() -> str:
    """Return digits for the code that this process trains with, whatever is edited meanwhile."""
    return source_fingerprint(*TRAINED_BY)


def runs_folder() -> Path:
    """Return where runs are kept: ``$DAKD_RUNS``, else ``runs/`` of the checkout or of here."""
    if os.environ.get("DAKD_RUNS"):
        return Path(os.environ["DAKD_RUNS"]).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"


def _content(weights: str | None) -> str:
    """Return digits for what is in a file of weights; nothing for weights that have a name."""
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:10]


class NotTrainedError(LookupError):
    """The run folder lacks a network, and the experiment was told not to train."""


class Experiment:
    """The work that belongs to one configuration, shared by all notebooks.

    Args:
        config: see `dakd.config.load_profile`.
        runs: folder of all runs; by default `runs_folder`.
        show: show progress bars.
        train: train what is missing; otherwise a missing network is a `NotTrainedError`.
        teacher: a finished teacher to distil from instead of training one: a checkpoint folder of
            ours, or a file that the authors of MCE or DAKD published.
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
        self.given_teacher = None if teacher is None else Path(teacher).expanduser()
        self.folder = Path(runs or runs_folder()).expanduser() / config.profile
        self.show = show
        self.about: dict[str, Any] = {}  # what the records of results should say besides
        self._dataset: Dataset | None = None
        self._trained: dict[str, TrainingResult] = {}
        self._embeddings: dict[tuple[int, str], tuple[ReIDModel | BothStems, Tensor]] = {}

    @property
    def figures(self) -> Path:
        """The folder of the pictures that the notebooks save."""
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def dataset(self) -> Dataset:
        """The images; without a root the embedded benchmark, exported to the dataset's layout."""
        if self._dataset is None:
            data = self.config.data
            size: dict[str, Any] = {"height": data.height, "width": data.width}
            root = data.root
            if data.name != "synthetic" and root is None:
                root = str(self._export(data.name))
            self._dataset = load_dataset(
                data.name,
                root,
                **size,
                filter=data.filter,
                synthetic=data.synthetic,
                trial=data.trial if data.name == "regdb" else None,
                keep=data.keep,
                cache=self.folder / "cache" if data.cache else None,
                show=self.show,
            )
        return self._dataset

    @property
    def data_key(self) -> tuple[Any, ...]:
        """What tells the images of one experiment from those of another.

        It is their content and how they are read, wherever they lie and however that is spelled.
        """
        data, drawn = self.config.data, self.config.data.name == "synthetic"
        read = (data.height, data.width, "" if drawn else data.filter)
        return (data.name, *read, self.dataset.fingerprint)

    def _export(self, layout: Literal["sysu", "regdb", "llcm", "custom"]) -> Path:
        """Write the embedded benchmark in a dataset's layout; return what `load_dataset` takes."""
        data = self.config.data
        size: dict[str, Any] = {"height": data.height, "width": data.width}
        name = f"{layout}-synthetic-{image_fingerprint(data.synthetic, **size, layout=layout)}"
        root = self.folder / "data" / name
        export_dataset(layout, data.synthetic, root, **size, show=self.show, warn=False)
        return root / "people.csv" if layout == "custom" else root

    def untrained(self) -> ReIDModel:
        """Return the network as it is before any training of ours."""
        m, seed = self.config.model, self.config.seed
        how: dict[str, Any] = {"non_local": m.non_local, "seed": seed}
        return build_model(m.backbone, m.pooling, m.weights, **how).eval()

    def teacher(self) -> TrainingResult:
        """Return the trained teacher, or the one that was given."""
        if self.given_teacher is not None:
            if "given" not in self._trained:
                self._trained["given"] = self._load_given(self.given_teacher)
            return self._trained["given"]
        c = self.config
        key = fingerprint(*self._common, c.teacher, *self._chosen_by(c.teacher))

        def train(folder: Path) -> TrainingResult:
            images = self.dataset.train
            return train_teacher(self.untrained(), images, c.teacher, **self._how(folder))

        return self._find(f"teacher-{key}", train)

    @property
    def _common(self) -> tuple[Any, ...]:
        """What every training of the experiment follows from, besides its own settings."""
        c = self.config
        weights = _content(c.model.weights) or c.model.weights
        start = (replace(c.model, weights=weights), c.seed, c.precision)
        return (*self.data_key, *start, training_code())

    def _load_given(self, path: Path) -> TrainingResult:
        """Return a finished teacher, if it fits configuration and data."""
        about: dict[str, Any] = {"file": path.name}
        if path.is_file():
            model, report = load_released(path)
            classes, split = report.classes, None
            about |= {"digest": report.digest, "family": report.family}
            with suppress(ValueError):  # nothing was published for this pair
                about |= measured_at(report.family, self.config.data.name)
        else:
            if not path.exists():
                raise CheckpointError(
                    f"there is neither a folder of ours nor a published file at {path}; give the "
                    "path of a finished teacher"
                )
            model, _, description = load_checkpoint(path)
            made = description["config"]
            classes, split = made.get("classes"), made.get("data_fingerprint")
            about |= {"digest": _content(str(path / WEIGHTS)), "trained": made.get("teacher")}
            about["chosen"] = made.get("selection", "last epoch")
            about |= model.trained_at
        self._refuse_misfit(path, model, about, classes, split)
        return TrainingResult(model, pd.DataFrame(), source={**about, "classes": classes})

    def _refuse_misfit(
        self, path: Path, model: ReIDModel, about: dict[str, Any], classes: int | None, split: Any
    ) -> None:
        """Refuse a teacher of another network, other identities, or other images."""
        m = self.config.model
        with torch.device("meta"):  # the shape alone
            ours = ReIDModel(m.backbone, m.pooling, non_local=m.non_local).architecture
        require(
            model.architecture == ours,
            f"the teacher {path} is the network {model.architecture}, and the configuration's is "
            f"{ours}; set --model.backbone, --model.pooling and --model.non-local to the teacher's",
        )
        known = with_both_modalities(self.dataset.train).num_classes
        require(
            classes in (None, known),
            f"the teacher {path} was trained on {classes} identities, and {self.dataset.name} has "
            f"{known} to train on; give the data that it was trained on",
        )
        for name in IMAGE_FIELDS:
            here = getattr(self.config.data, name)
            if (there := about.get(name, here)) != here:
                told = f"the teacher {path} is for images of {name} {there}, and these have {here}"
                require("family" in about, f"{told}; give --data.{name} {there}")
                warnings.warn(f"{told}: it may see less in them", stacklevel=4)
        require(
            split in (None, self.dataset.fingerprint),
            f"the teacher {path} was trained on other images (data {split}, not "
            f"{self.dataset.fingerprint}), so it may have seen people who are tested here; give "
            "the data and the trial that it was trained on",
        )

    def _chosen_by(self, config: ScheduleConfig) -> tuple[Any, ...]:
        """Return what decides which epoch is reported, where the test set chooses it."""
        e = self.config.evaluation
        return (e.protocol, e.sampling, e.trials) if config.selects_on_test else ()

    def _how(self, folder: Path) -> dict[str, Any]:
        c = self.config
        how = {"seed": c.seed, "device": c.device, "precision": c.precision, "engine": c.engine}
        metadata = {"experiment": to_dict(c), "data_fingerprint": self.dataset.fingerprint}
        if self.given_teacher is not None:
            metadata["given_teacher"] = dict(self.teacher().source)
        how |= {"folder": folder, "metadata": metadata, "show": self.show}
        return {**how, "test_score": self._test_score}

    def student(
        self, ablation: str | None = None, preset: str | None = None, **changes: Any
    ) -> TrainingResult:
        """Return the trained student; without arguments that of the configuration.

        Args:
            ablation, preset: see `dakd.config.StudentConfig`.
            changes: other fields of it.
        """
        c = self.config
        given = {"ablation": ablation, "preset": preset, **changes}
        wanted = replace(c.student, **{k: v for k, v in given.items() if v is not None})
        DAKDLoss(
            wanted.preset, wanted.ablation, **wanted.distill.overrides
        )  # refuse before hours of work
        teacher = self.teacher()
        key = fingerprint(teacher.name, *self._common, wanted, *self._chosen_by(wanted))

        def train(folder: Path) -> TrainingResult:
            start = self.untrained()
            if wanted.init == "teacher":
                start.load_state_dict(teacher.model.state_dict())
            how = self._how(folder)
            return train_student(start, teacher.model, self.dataset.train, wanted, **how)

        return self._find(f"student-{wanted.ablation}-{wanted.preset}-{key}", train)

    def _test_score(self, model: ReIDModel) -> float:
        """Return the mean mAP over all galleries of the protocol's first setting.

        That is all-search, single-shot for SYSU-MM01, and visible to infrared for RegDB and LLCM.
        """
        e, device = self.config.evaluation, self.config.device
        how: dict[str, Any] = {"protocol": e.protocol, "batch": e.batch, "device": device}
        how |= {"sampling": e.sampling, "trials": e.trials, **self.settings[0]}
        return float(evaluate(model, self.dataset, **how).mean["mAP"])

    def continued(self) -> TrainingResult:
        """Return the teacher trained further with its own objective, for the student's schedule.

        The control of equal compute: what the same steps give without distillation.
        """
        c, teacher = self.config, self.teacher()
        schedule = {f.name: getattr(c.student, f.name) for f in fields(ScheduleConfig)}
        own = ("cutswap", "selection", "weight_decay")
        wanted = TeacherConfig(**{**schedule, **{name: getattr(c.teacher, name) for name in own}})
        key = fingerprint(teacher.name, *self._common, wanted, *self._chosen_by(wanted))

        def train(folder: Path) -> TrainingResult:
            model = copy.deepcopy(teacher.model)
            how = {**self._how(folder), "seed": c.seed + 1}  # other batches than before
            return train_teacher(model, self.dataset.train, wanted, **how)

        return self._find(f"continued-{key}", train)

    def _find(self, name: str, train: Callable[[Path], TrainingResult]) -> TrainingResult:
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
        """Return the embeddings (N, D) of a split, computed once a network."""
        key = (id(model), split)
        if key not in self._embeddings:
            images = getattr(self.dataset, split)
            e = self.config.evaluation
            flip = e.flip and split == "test"
            how: dict[str, Any] = {"batch": e.batch, "device": self.config.device, "flip": flip}
            # The network is kept too, so that its id stays its own.
            by: Any = extract if isinstance(model, ReIDModel) else extract_two_stems
            self._embeddings[key] = (model, by(model, images, **how))
        return self._embeddings[key][1]

    def augmentations(self) -> dict[Modality, Augmentation]:
        """Return how the student's training augments the images of either modality."""
        return training_augmentations(self.config.student, self.dataset.train)

    def centres(self, model: ReIDModel) -> ByModality:
        """Return the class centres (K, D) of the training split in either modality."""
        return class_centres(self.embeddings(model, "train"), self.dataset.train)

    @property
    def settings(self) -> tuple[dict[str, Any], ...]:
        """The settings of the protocol in which results are customarily reported."""
        protocol = self.config.evaluation.protocol
        return SETTINGS[PROTOCOL_OF[self.dataset.name] if protocol == "auto" else protocol]

    def evaluate_all(
        self, model: ReIDModel | BothStems, *, rerank: bool | None = None
    ) -> dict[str, Result]:
        """Return the tables of a network in every setting of the protocol, by `setting_name`.

        Args:
            model: the network, or the two of a family with two stems (see `dakd.released`).
            rerank: k-reciprocal re-ranking; by default as configured.
        """
        return {
            setting_name(how): self.evaluate(model, rerank=rerank, **how) for how in self.settings
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
        """Return the benchmark table of a network in one setting of the protocol.

        Args:
            model: the network.
            mode, shots: of SYSU-MM01's protocol.
            rerank: k-reciprocal re-ranking; by default as configured.
            direction: ``query`` and ``gallery``, for the protocols that have two.
        """
        c, e = self.config, self.config.evaluation
        trained = next((t for t in self._trained.values() if t.model is model), None)
        about = {
            "network": trained.name if trained else "",
            "height": c.data.height,
            "width": c.data.width,
            "filter": c.data.filter,
            "seed": c.seed,
        }
        return evaluate(
            lambda: self.embeddings(model),
            self.dataset,
            protocol=e.protocol,
            mode=mode,
            shots=shots,
            sampling=e.sampling,
            trials=e.trials,
            cmc_unit=e.cmc_unit,
            flip=e.flip,
            rerank=e.rerank if rerank is None else rerank,
            device=c.device,
            metadata=about | self.about,
            **direction,
        )
