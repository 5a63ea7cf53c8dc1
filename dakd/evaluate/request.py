"""The request of an evaluation: a protocol with its settings, and the trials drawn from them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dakd.data import Dataset, ImageSet
from dakd.data.lists import some
from dakd.data.sysu import read_permutations
from dakd.protocols import (
    PROTOCOLS,
    Modality,
    People,
    Rule,
    Trial,
    Unit,
    llcm_trials,
    open_trials,
    regdb_trials,
    sysu_trials,
)
from dakd.runtime import pick_device, require

ProtocolName = Literal["sysu", "regdb", "llcm", "llcm-released", "none"]
PROTOCOL_OF: dict[str, ProtocolName] = {  # a dataset's own protocol
    "synthetic": "sysu",
    "sysu": "sysu",
    "regdb": "regdb",
    "llcm": "llcm",
    "custom": "none",
}
_BOTH_DIRECTIONS: tuple[dict[str, Any], ...] = (
    {"query": "visible", "gallery": "infrared"},
    {"query": "infrared", "gallery": "visible"},
)
SETTINGS: dict[ProtocolName, tuple[dict[str, Any], ...]] = {  # those that papers report
    "sysu": tuple({"mode": mode, "shots": n} for mode in ("all", "indoor") for n in (1, 10)),
    "regdb": _BOTH_DIRECTIONS,
    "llcm": _BOTH_DIRECTIONS,
    "llcm-released": _BOTH_DIRECTIONS,
    "none": _BOTH_DIRECTIONS,
}


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return the name of a protocol's setting, for columns and files.

    >>> setting_name({"mode": "all", "shots": 1})
    'all-1'
    """
    return "-".join(map(str, setting.values()))


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings that determine the trials and the metrics of an evaluation.

    Attributes:
        protocol, query, gallery, mode, shots, sampling, trials, cmc_unit: see
            `dakd.evaluate.evaluate`.
    """

    protocol: ProtocolName | Literal["auto"] | None = "auto"
    query: Modality = "infrared"
    gallery: Modality = "visible"
    mode: Literal["all", "indoor"] = "all"
    shots: int = 1
    sampling: Literal["agw", "official"] = "agw"
    trials: int = 10
    cmc_unit: Unit | None = None

    def resolve(self, dataset: Dataset) -> "Request":
        """Return the request with its protocol in place of ``"auto"`` and None."""
        if self.protocol != "auto":
            return replace(self, protocol=self.protocol or "none")
        if dataset.name not in PROTOCOL_OF:
            raise ValueError(f"dataset {dataset.name!r} has no protocol of its own; name one")
        return replace(self, protocol=PROTOCOL_OF[dataset.name])

    @property
    def direction(self) -> dict[str, Any]:
        """The modalities of query and gallery."""
        return {"query": self.query, "gallery": self.gallery}

    @property
    def sysu_settings(self) -> dict[str, Any]:
        """The settings of SYSU-MM01's protocol, which the other protocols do not have."""
        return {"mode": self.mode, "shots": self.shots, "sampling": self.sampling}

    @property
    def exchanged(self) -> bool:
        """Whether queries and gallery are exchanged: LLCM's script does it in one direction."""
        return self.protocol == "llcm-released" and self.query == "visible"

    @property
    def metric_protocol(self) -> str | None:
        """The protocol of `dakd.metrics.rank_metrics` for trials that are already exchanged."""
        return "llcm" if self.protocol == "llcm-released" else self.protocol

    @property
    def rule(self) -> Rule:
        """The camera rule and the CMC unit of the protocol."""
        return PROTOCOLS[self.metric_protocol]

    @property
    def unit(self) -> Unit:
        """What a rank counts."""
        return self.cmc_unit or self.rule.unit

    def draw(self, dataset: Dataset) -> list[Trial]:
        """Return the trials of a resolved request after checking it (see `check_request`)."""
        require(len(dataset.test) > 0, "there is no test image; add images to the test split")
        require(
            self.cmc_unit in ("identity", "image", None),
            f"cmc_unit must be 'identity' or 'image', not {self.cmc_unit!r}",
        )
        trials = self._draw(dataset)
        if self.exchanged:
            trials = [Trial(t.number, query=t.gallery, gallery=t.query) for t in trials]
        _check_matches(dataset.test, trials, self.rule)
        return trials

    def _draw(self, dataset: Dataset) -> list[Trial]:
        if self.protocol not in PROTOCOLS:
            known = ", ".join(map(repr, filter(None, PROTOCOLS)))
            raise ValueError(f"protocol {self.protocol!r} cannot be evaluated; use one of {known}")
        if self.protocol == "sysu":
            if self.direction != {"query": "infrared", "gallery": "visible"}:
                raise ValueError(
                    "SYSU-MM01's protocol has infrared queries and a visible gallery, not "
                    f"{self.query} -> {self.gallery}; use protocol='none' for that"
                )
            draws = _permutations(dataset) if self.sampling == "official" else None
            settings = self.sysu_settings | {"permutations": draws}
            return sysu_trials(dataset.test, trials=self.trials, **settings)
        if self.sysu_settings != Request().sysu_settings:
            text = "mode, shots and sampling are settings of protocol 'sysu'"
            raise ValueError(f"{text}; {self.protocol!r} has none")
        if self.protocol == "regdb":
            return regdb_trials(dataset.test, number=dataset.trial or 1, **self.direction)
        if self.protocol == "none":
            return open_trials(dataset.test, **self.direction)
        return llcm_trials(dataset.test, trials=self.trials, **self.direction)


def check_request(dataset: Dataset, *, device: str = "auto", **settings: Any) -> None:
    """Raise the errors of `evaluate` for these settings, without a network and in seconds.

    Args:
        dataset: from `dakd.data.load_dataset`.
        device: see `evaluate`.
        settings: protocol, query, gallery, mode, shots, sampling, trials, cmc_unit of `evaluate`.

    Raises:
        ValueError: a setting is unknown or belongs to another protocol, the device does not exist,
            or no query has a match in a gallery.
        TypeError: a setting is not one of these.
        FileNotFoundError: the permutations of ``sampling="official"`` are missing.
    """
    pick_device(device)
    Request(**settings).resolve(dataset).draw(dataset)


def _check_matches(test: ImageSet, trials: list[Trial], rule: Rule) -> None:
    """Raise ValueError if no query of a trial has a match in its gallery."""
    for trial in trials:
        # Every pair of identity and camera once, (n,) and (m,): there are few of them.
        query, gallery = (
            People(*np.unique([test.pids[rows], test.cams[rows]], axis=1))
            for rows in (trial.query, trial.gallery)
        )
        queries = People(query.pids[:, None], query.cams[:, None])
        same = queries.pids == gallery.pids  # (n, m)
        if not same.any():
            raise ValueError(
                f"no query identity ({some(np.unique(query.pids))}) is in the gallery of trial "
                f"{trial.number} ({some(np.unique(gallery.pids))}); "
                "check that both modalities use the same identity numbers"
            )
        if rule.drop and not (same & ~rule.drop(queries, gallery)).any():
            raise ValueError(
                f"the camera rule drops every match in the gallery of trial {trial.number} "
                f"({rule.drops}); check the camera numbers, or use protocol='none'"
            )


def _permutations(dataset: Dataset) -> Any:
    if dataset.root is None:
        raise ValueError(
            "sampling 'official' reads exp/rand_perm_cam.mat from the dataset's folder, and "
            f"{dataset.name!r} has no folder; use sampling='agw' or an exported copy"
        )
    return read_permutations(dataset.root / "exp" / "rand_perm_cam.mat")
