"""Which tensor of a released state dict is which of ours, family by family."""

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

# A rule: how a key begins, what our key begins with instead, or None and why it is not needed.
# Of several that fit, the first counts.
_Rule = tuple[str, str | None, str]
_TRAINING: list[_Rule] = [
    ("classifier.", None, "classifier of the training identities"),
    ("memory.", None, "prototypes of the training identities"),
    ("memory_rgb.", None, "prototypes of the training identities"),
    ("memory_ir.", None, "prototypes of the training identities"),
    ("memory_ca.", None, "prototypes of the training identities"),
]
_OF_IDENTITIES = tuple(begins for begins, _, _ in _TRAINING)


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
    """Where the tensors of a file go.

    Attributes:
        family: ``"DAKD release"``, ``"AGW family"``, or ``""`` when the keys are of neither.
        used: our key -> key in the file.
        ignored: key in the file -> why embeddings do not need it.
        strange: keys of parts that our network has not.
    """

    family: str
    used: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    @property
    def training(self) -> list[str]:
        """Keys of the file that hold something for each training identity."""
        return [key for key in self.ignored if key.startswith(_OF_IDENTITIES)]


def route(keys: Collection[str], stem: Modality) -> Routes:
    """Return where each tensor of a released state dict goes in the network for one modality.

    Args:
        keys: of the state dict.
        stem: whose first layers to take, where each modality has its own.

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
        for begins, ours, why in rules + _TRAINING:
            if key.startswith(begins):
                if ours is None:
                    routes.ignored[key] = why
                else:
                    routes.used[ours + key.removeprefix(begins)] = key
                break
        else:
            routes.strange.append(key)
    return routes


def has_two_stems(keys: Collection[str]) -> bool:
    """Tell whether a state dict holds first layers for each modality."""
    return any(key.startswith(tuple(STEMS.values())) for key in keys)


def measured_at(family: str, dataset: str) -> dict[str, Any]:
    """Return how test images were made for the published numbers of a family.

    Args:
        family: ``"DAKD release"`` (MCE, whose networks are its teachers, did the same) or
            ``"AGW family"``.
        dataset: ``"sysu"``, ``"regdb"`` or ``"llcm"``.

    Returns:
        ``height`` and ``width`` in pixels, and ``filter``, Pillow's name of the one for resizing.

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

    In most of this family each of the three is a whole ResNet of which the forward pass calls a
    part: conv1 and bn1 of a stem, the four stages of the trunk. Where the trunk lacks a stage
    (HCT), each stem calls its own.
    """
    trunk = {key.removeprefix(TRUNK).partition(".")[0] for key in keys if key.startswith(TRUNK)}
    if has_two_stems(keys):
        trunk -= _STEM_LAYERS
    rules: list[_Rule] = [(f"{TRUNK}{part}.", f"backbone.{part}.", "") for part in sorted(trunk)]
    rules.append((TRUNK, None, "first layers of the trunk, never called: the stems stand there"))
    for modality, begins in STEMS.items():
        idle = "later layers of a stem, never called: the trunk stands there"
        rules += [(f"{begins}{part}.", None, idle) for part in sorted(trunk)]
        other = f"stem for {modality} images"
        rules.append((begins, "backbone." if modality == stem else None, other))
    return [*rules, ("bottleneck.", "neck.", ""), *_block_rules("")]
