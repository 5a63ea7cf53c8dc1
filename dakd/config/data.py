"""Configuration of the images: the dataset, how it is read, and the embedded benchmark."""

from dataclasses import dataclass, field
from typing import Literal

from dakd.config.checks import check_choices, check_fraction, check_positive
from dakd.runtime import require

IMAGE_FIELDS = ("height", "width", "filter")  # of `DataConfig`; fixed by a network's training


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """The embedded benchmark: how many identities, and how hard they are to tell apart.

    Attributes:
        train_ids: training identities, numbered 1..train_ids (the setting with the largest
            influence on accuracy).
        test_ids: test identities, numbered from train_ids + 1; at least 20.
        images_per_camera: images per identity in each camera that sees it.
        thermal: cameras 3 and 6 are thermal (as in RegDB) instead of near-infrared: skin is
            warm, clothing is as warm as its insulation allows, and `material` has no effect.
        material: 0..1, how much of a garment's near-infrared brightness follows from its visible
            luminance; the rest comes from its material. Lower values widen the modality gap.
            Shape and pattern geometry are the same in both modalities at any value.
        clutter: 0..1, strength of background structure; 0 leaves plain stripes.
        occlusion: 0..1, probability that a post or a low object occludes the person.
        jitter: 0..1, intra-identity variation: probability of a random view (front, back or side)
            instead of the frontal one, and range of body rotation, gait phase, scale, shift,
            brightness, colour and light direction.
        noise: 0..1, sensor noise and blur.
        seed: determines the identities and their images.
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
    """Which dataset, where it is, and at what size images are read.

    Attributes:
        name: ``"synthetic"``, ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``
            (see `dakd.data.load_dataset`).
        root: folder of the dataset (for ``"custom"`` the table); None exports the synthetic
            benchmark in the dataset's layout and reads it from there.
        trial: which of RegDB's ten splits, 1 to 10; ignored for the other datasets.
        height, width: pixels.
        filter: resize filter; the published code uses Lanczos.
        keep: keep decoded images in memory, about 6 GB for SYSU-MM01 at 384 x 128.
        cache: keep decoded images in a file shared by all processes instead (see
            `dakd.data.cache`); the images and results are the same.
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
