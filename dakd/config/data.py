"""Which images are read, and how people are drawn."""

from dataclasses import dataclass, field
from typing import Literal

from dakd.config.checks import check_choices, check_fraction, check_positive
from dakd.runtime import require

SEEN = ("height", "width", "filter")  # of `DataConfig`: how the images of a network are read


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """The embedded benchmark: how many pedestrians, and how hard they are to tell apart.

    Attributes:
        train_ids: training identities, numbers 1..train_ids (the strongest lever on what a
            network learns).
        test_ids: identities of the test split, the numbers that follow; at least 20.
        images_per_camera: images of an identity in each camera that saw it.
        thermal: cameras 3 and 6 are thermal (as in RegDB) instead of near-infrared: skin is
            warm, cloth as warm as its insulation lets through, and `material` has no effect.
        material: 0..1, how much of a garment's near-infrared brightness follows from its visible
            luminance; the rest comes from its material. Lower is a wider modality gap. Shape,
            and the geometry of patterns, are the same in both modalities at any value.
        clutter: 0..1, strength of background structure; 0 leaves plain stripes.
        occlusion: 0..1, probability that a post or something low stands before the person.
        jitter: 0..1, variation inside an identity: probability that the view is drawn freely
            (front, back or side) instead of frontal, turn of the body, phase of the gait, scale,
            shift, brightness, colour and direction of the light.
        noise: 0..1, sensor noise and blur.
        seed: people and their images follow from it.
    """

    train_ids: int = 256
    test_ids: int = 48
    images_per_camera: int = 4
    thermal: bool = False
    material: float = 0.5
    clutter: float = 0.5
    occlusion: float = 0.1
    jitter: float = 0.3
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "images_per_camera")
        require(
            self.train_ids >= 4,
            f"SyntheticConfig.train_ids must be at least 4 (some are for validation), "
            f"not {self.train_ids}",
        )
        require(
            self.test_ids >= 20,
            f"SyntheticConfig.test_ids must be at least 20 (rank-20 is reported), "
            f"not {self.test_ids}",
        )
        check_fraction(self, "material", "clutter", "occlusion", "jitter", "noise")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which dataset, where it lies, and at what size images are read.

    Attributes:
        name: ``"synthetic"``, ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``
            (see `dakd.data.load_dataset`).
        root: folder of the dataset (of ``"custom"`` the table); without one the embedded benchmark
            is exported to the dataset's layout and read back from there.
        trial: which of RegDB's ten splits, 1 to 10; nothing to the others.
        height, width: pixels.
        filter: how images are resized; Lanczos is what the published codes use.
        keep: remember decoded pictures; SYSU-MM01 at 384 x 128 then takes about 6 GB of memory.
        cache: keep decoded pictures in a file that all processes share instead (see
            `dakd.data.cache`); same pictures, same results.
        synthetic: settings of the embedded benchmark.
    """

    name: Literal["synthetic", "sysu", "regdb", "llcm", "custom"] = "sysu"
    root: str | None = None
    trial: int = 1
    height: int = 384
    width: int = 128
    filter: Literal["lanczos", "bicubic", "bilinear"] = "lanczos"
    keep: bool = True
    cache: bool = False
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        check_positive(self, "height", "width")
        require(1 <= self.trial <= 10, f"DataConfig.trial must be 1 to 10, not {self.trial}")
        check_choices(self)
