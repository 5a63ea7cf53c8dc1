"""Map the keys of released state dicts to those of our network, for each family."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from dakd.protocols import Modality

STAGES = (1, 2, 3, 4)
STEMS: dict[Modality, str] = {
    "visible": "visible_module.visible.",
    "infrared": "thermal_module.thermal.",
}
_SIZES = {
    ("DAKD release", "sysu"): (384, 128),
    ("DAKD release", "regdb"): (288, 144),
    ("DAKD release", "llcm"): (384, 144),  # as it trains; no published script measures it
    ("AGW family", "sysu"): (288, 144),
    ("AGW family", "regdb"): (288, 144),
}  # height, width
TRUNK = "base_resnet.base."
_STEM_LAYERS = {"conv1", "bn1"}

# A rule: the prefix of a key, and the prefix of our key or None with the reason to ignore the key.
# The first matching rule applies.
_Rule = tuple[str, str | None, str]
_TRAINING: list[_Rule] = [
    ("classifier.", None, "classifier of the training identities"),
    ("memory.", None, "prototypes of the training identities"),
    ("memory_rgb.", None, "prototypes of the training identities"),
    ("memory_ir.", None, "prototypes of the training identities"),
    ("memory_ca.", None, "prototypes of the training identities"),
]
_OF_IDENTITIES = tuple(prefix for prefix, _, _ in _TRAINING)


def _block_rules(prefix: str) -> list[_Rule]:
    return [(f"{prefix}NL_{n}.", f"backbone.layer{n}.non_local", "") for n in STAGES]


_RELEASE: list[_Rule] = [
    *_block_rules("backbone."),
    ("backbone.pool.", "pool.", ""),
    ("backbone.", "backbone.", ""),
    ("bn_neck.", "neck.", ""),
]


@dataclass(frozen=True)
class Routes:
    """How the keys of a file map to those of our network.

    Attributes:
        family: ``"DAKD release"``, ``"AGW family"``, or ``""`` for neither.
        used: our key -> key in the file.
        ignored: key in the file -> the reason why embeddings do not need it.
        unknown: keys of parts that our network lacks.
    """

    family: str
    used: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def training(self) -> list[str]:
        """Keys of the tensors with one row per training identity."""
        return [key for key in self.ignored if key.startswith(_OF_IDENTITIES)]


def route(keys: Collection[str], stem: Modality) -> Routes:
    """Map the keys of a released state dict to the network for one modality.

    Args:
        keys: of the state dict.
        stem: the modality whose first layers are used, where each has its own.

    Example:
        >>> keys = ["backbone.bn1.bias", "bn_neck.weight", "classifier.weight"]
        >>> routes = route(keys, stem="visible")
        >>> routes.used
        {'backbone.bn1.bias': 'backbone.bn1.bias', 'neck.weight': 'bn_neck.weight'}
        >>> routes.ignored
        {'classifier.weight': 'classifier of the training identities'}
    """
    if any(key.startswith(TRUNK) for key in keys):
        routes, rules = Routes("AGW family"), _agw_rules(keys, stem)
    elif any(key.startswith("backbone.") for key in keys):
        routes, rules = Routes("DAKD release"), _RELEASE
    else:
        routes, rules = Routes(""), []
    for key in keys:
        for prefix, ours, reason in rules + _TRAINING:
            if key.startswith(prefix):
                if ours is None:
                    routes.ignored[key] = reason
                else:
                    routes.used[ours + key.removeprefix(prefix)] = key
                break
        else:
            routes.unknown.append(key)
    return routes


def has_two_stems(keys: Collection[str]) -> bool:
    """Return whether a state dict has first layers for each modality."""
    return any(key.startswith(tuple(STEMS.values())) for key in keys)


def measured_at(family: str, dataset: str) -> dict[str, Any]:
    """Return the size and resize filter of test images for the published numbers of a family.

    Args:
        family: ``"DAKD release"``, also for its teachers, which are MCE's networks, or
            ``"AGW family"``.
        dataset: ``"sysu"``, ``"regdb"`` or ``"llcm"``.

    Returns:
        ``height`` and ``width`` in pixels, and ``filter``, the name of Pillow's resize filter.

    Raises:
        ValueError: nothing was published for this pair.

    Example:
        >>> measured_at("DAKD release", "regdb")
        {'height': 288, 'width': 144, 'filter': 'lanczos'}
    """
    if (family, dataset) not in _SIZES:
        raise ValueError(
            f"no size is known at which {family!r} was measured on {dataset!r}; known are "
            f"{', '.join(f'{name} on {data}' for name, data in _SIZES)}; give height and width "
            "(--data.height, --data.width)"
        )
    height, width = _SIZES[family, dataset]
    return {"height": height, "width": width, "filter": "lanczos"}


def _agw_rules(keys: Collection[str], stem: Modality) -> list[_Rule]:
    """Return the rules for two stems and a trunk.

    In most of this family each of the three is a whole ResNet, and the forward pass calls a part of
    it: conv1 and bn1 of a stem, the four stages of the trunk. Where the trunk lacks a stage (HCT),
    the forward pass calls those of the stems.
    """
    trunk = {key.removeprefix(TRUNK).partition(".")[0] for key in keys if key.startswith(TRUNK)}
    if has_two_stems(keys):
        trunk -= _STEM_LAYERS
    rules: list[_Rule] = [(f"{TRUNK}{part}.", f"backbone.{part}.", "") for part in sorted(trunk)]
    rules.append((TRUNK, None, "first layers of the trunk, replaced by the stems"))
    for modality, prefix in STEMS.items():
        later = "later layers of a stem, replaced by the trunk"
        rules += [(f"{prefix}{part}.", None, later) for part in sorted(trunk)]
        other = f"stem for {modality} images"
        rules.append((prefix, "backbone." if modality == stem else None, other))
    return [*rules, ("bottleneck.", "neck.", ""), *_block_rules("")]
