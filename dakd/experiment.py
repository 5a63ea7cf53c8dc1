"""A configuration and everything it has made so far: data, networks, embeddings, results.

The notebooks and the command line ask an `Experiment` for what they need. What a configuration
has already trained is found in the run folder, and trained when missing.
"""

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from dakd.checkpoint import is_complete, load_checkpoint
from dakd.config import Config, ScheduleConfig, TeacherConfig, fingerprint, to_dict
from dakd.data import Dataset, load_dataset
from dakd.data.export import export_dataset
from dakd.data.synthetic import picture_fingerprint
from dakd.distill import DAKDLoss, Pair
from dakd.evaluate import PROTOCOL_OF, SETTINGS, evaluate, extract, setting_name
from dakd.model import ReIDModel, build_model
from dakd.objectives import class_centres
from dakd.result import Result
from dakd.runtime import source_fingerprint
from dakd.train import Trained, train_student, train_teacher

TRAINED_BY = (  # changed code trains again
    *("augment", "distill.py", "embed.py", "losses.py", "memory.py", "loop.py"),
    *("model.py", "objectives.py", "parallel.py", "runtime.py", "selection.py", "train.py"),
    *("data/records.py", "data/sampler.py"),
)


def runs_folder() -> Path:
    """Return where runs are kept: ``$DAKD_RUNS``, else ``runs/`` of the checkout or of here."""
    if os.environ.get("DAKD_RUNS"):
        return Path(os.environ["DAKD_RUNS"])
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "runs"


def _content(weights: str | None) -> str:
    """Return digits for what is in a file of weights; nothing for weights that have a name."""
    if weights is None or not Path(weights).is_file():
        return ""
    return hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:10]


class NotTrainedError(LookupError):
    """The run folder lacks a network, and the experiment was told not to train."""


class Experiment:
    """The work that belongs to one configuration, shared by all notebooks.

    Args:
        config: see `dakd.config.load_profile`.
        runs: folder of all runs; by default `runs_folder`.
        show: show progress bars.
        train: train what is missing; otherwise a missing network is a `NotTrainedError`.
    """

    def __init__(
        self,
        config: Config,
        *,
        runs: str | Path | None = None,
        show: bool = True,
        train: bool = True,
    ) -> None:
        self.config, self.train = config, train
        self.folder = Path(runs or runs_folder()) / config.profile
        self.show = show
        self.about: dict[str, Any] = {}  # what the records of results should say besides
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
        """The images; without a root the embedded benchmark, exported to the dataset's layout."""
        if self._dataset is None:
            data = self.config.data
            size, root = {"height": data.height, "width": data.width}, data.root
            if data.name != "synthetic" and root is None:
                root = str(self._export(data.name))
            self._dataset = load_dataset(
                data.name,
                root,
                **size,
                synthetic=data.synthetic,
                trial=data.trial if data.name == "regdb" else None,
                keep=data.keep,
                cache=self.folder / "cache" if data.cache else None,
                show=self.show,
            )
        return self._dataset

    def _export(self, layout: Literal["sysu", "regdb", "llcm", "custom"]) -> Path:
        """Write the embedded benchmark in a dataset's layout; return what `load_dataset` takes."""
        data = self.config.data
        size = {"height": data.height, "width": data.width}
        name = f"{layout}-synthetic-{picture_fingerprint(data.synthetic, **size, layout=layout)}"
        root = self.folder / "data" / name
        export_dataset(layout, data.synthetic, root, **size, show=self.show)
        return root / "people.csv" if layout == "custom" else root

    def untrained(self) -> ReIDModel:
        """Return the network as it is before any training of ours."""
        model = self.config.model
        return build_model(
            model.backbone, model.pooling, model.weights, seed=self.config.seed
        ).eval()

    def teacher(self) -> Trained:
        """Return the trained teacher."""
        c = self.config
        stored = replace(c.data, keep=True, cache=False)  # where pictures wait changes no result
        data = (stored, self.dataset.fingerprint)
        made_by = (source_fingerprint(*TRAINED_BY), _content(c.model.weights))
        key = fingerprint(*data, c.model, c.teacher, c.seed, c.precision, *made_by)

        def train(folder: Path) -> Trained:
            images = self.dataset.train
            return train_teacher(self.untrained(), images, c.teacher, **self._how(folder))

        return self._find(f"teacher-{key}", train)

    def _how(self, folder: Path) -> dict[str, Any]:
        c = self.config
        how = {"seed": c.seed, "device": c.device, "precision": c.precision, "engine": c.engine}
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
        DAKDLoss(wanted.preset, wanted.ablation, **wanted.switches)  # refuse before hours of work
        teacher = self.teacher()
        chosen_by = c.evaluation.protocol if wanted.selects_on_test else ""
        key = fingerprint(str(teacher.folder and teacher.folder.name), wanted, chosen_by)

        def train(folder: Path) -> Trained:
            start = self.untrained()
            if wanted.init == "teacher":
                start.load_state_dict(teacher.model.state_dict())
            how = {**self._how(folder), "test_score": self._test_score}
            return train_student(start, teacher.model, self.dataset.train, wanted, **how)

        return self._find(f"student-{wanted.ablation}-{wanted.preset}-{key}", train)

    def _test_score(self, model: ReIDModel) -> float:
        """Return the mAP of the first trial on the test set."""
        e, device = self.config.evaluation, self.config.device
        how: dict[str, Any] = {"protocol": e.protocol, "batch": e.batch, "device": device}
        return float(evaluate(model, self.dataset, trials=1, **how).mean["mAP"])

    def continued(self) -> Trained:
        """Return the teacher, trained on with its own objective for the student's schedule.

        The control of equal compute: what the student's steps give without any distillation.
        """
        c, teacher = self.config, self.teacher()
        schedule = {f.name: getattr(c.student, f.name) for f in fields(ScheduleConfig)}
        wanted = TeacherConfig(**{**schedule, "cutswap": c.teacher.cutswap})
        key = fingerprint(str(teacher.folder and teacher.folder.name), wanted)

        def train(folder: Path) -> Trained:
            model = copy.deepcopy(teacher.model)
            how = {**self._how(folder), "seed": c.seed + 1}  # other batches than before
            return train_teacher(model, self.dataset.train, wanted, **how)

        return self._find(f"continued-{key}", train)

    def _find(self, name: str, train: Callable[[Path], Trained]) -> Trained:
        if name not in self._trained:
            folder = self.folder / "models" / name
            if is_complete(folder):
                model, history, description = load_checkpoint(folder)
                seconds = description["metrics"].get("seconds", float("nan"))
                self._trained[name] = Trained(model, history, folder, seconds)
            elif self.train:
                self._trained[name] = train(folder)
            else:
                c = self.config
                raise NotTrainedError(
                    f"the {name.partition('-')[0]} of seed {c.seed} is not in {folder}; "
                    f"`dakd train --profile {c.profile} --seed {c.seed}` trains teacher and student"
                )
        return self._trained[name]

    def embeddings(self, model: ReIDModel, split: str = "test") -> Tensor:
        """Return the embeddings (N, D) of a split, computed once a network."""
        key = (id(model), split)
        if key not in self._embeddings:
            images = getattr(self.dataset, split)
            e = self.config.evaluation
            flip = e.flip and split == "test"
            how: dict[str, Any] = {"batch": e.batch, "device": self.config.device, "flip": flip}
            # The network is kept too, so that its id stays its own.
            self._embeddings[key] = (model, extract(model, images, **how))
        return self._embeddings[key][1]

    def centres(self, model: ReIDModel) -> Pair:
        """Return the class centres (K, D) of the training split in either modality."""
        return class_centres(self.embeddings(model, "train"), self.dataset.train)

    @property
    def settings(self) -> tuple[dict[str, Any], ...]:
        """The settings of the protocol in which results are customarily reported."""
        protocol = self.config.evaluation.protocol
        return SETTINGS[PROTOCOL_OF[self.dataset.name] if protocol == "auto" else protocol]

    def evaluate_all(self, model: ReIDModel) -> dict[str, Result]:
        """Return the tables of a network in every setting of the protocol, by `setting_name`."""
        return {setting_name(how): self.evaluate(model, **how) for how in self.settings}

    def evaluate(
        self,
        model: ReIDModel,
        mode: Literal["all", "indoor"] = "all",
        shots: int = 1,
        **direction: Any,
    ) -> Result:
        """Return the benchmark table of a network in one setting of the protocol.

        Args:
            model: the network.
            mode, shots: of SYSU-MM01's protocol.
            direction: ``query`` and ``gallery``, for the protocols that have two.
        """
        c, e = self.config, self.config.evaluation
        trained = next((t for t in self._trained.values() if t.model is model), None)
        about = {
            "network": trained.folder.name if trained and trained.folder else "",
            "height": c.data.height,
            "width": c.data.width,
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
            rerank=e.rerank,
            device=c.device,
            about=about | self.about,
            **direction,
        )
