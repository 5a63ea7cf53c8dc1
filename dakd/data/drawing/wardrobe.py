"""What people wear: colour, material and pattern of cloth, and its appearance in each spectrum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dakd.data.drawing.sampling import KeyedRandom, look_up

Spectrum = Literal["visible", "infrared", "thermal"]

CLOTH = torch.tensor(  # red, green, blue of dyed cloth
    [
        [0.09, 0.09, 0.10], [0.93, 0.93, 0.91], [0.45, 0.46, 0.48], [0.70, 0.71, 0.72],
        [0.13, 0.18, 0.36], [0.20, 0.36, 0.66], [0.47, 0.66, 0.86], [0.72, 0.12, 0.14],
        [0.45, 0.08, 0.16], [0.90, 0.48, 0.14], [0.92, 0.78, 0.22], [0.16, 0.42, 0.24],
        [0.40, 0.44, 0.22], [0.11, 0.52, 0.52], [0.88, 0.56, 0.64], [0.45, 0.28, 0.60],
        [0.76, 0.66, 0.50], [0.42, 0.28, 0.18],
    ]
)  # fmt: skip
LEGS = torch.tensor(
    [
        [0.08, 0.08, 0.09], [0.16, 0.22, 0.38], [0.30, 0.41, 0.60], [0.50, 0.60, 0.72],
        [0.24, 0.24, 0.26], [0.50, 0.50, 0.52], [0.68, 0.60, 0.46], [0.34, 0.35, 0.22],
        [0.36, 0.24, 0.16], [0.90, 0.89, 0.85], [0.40, 0.10, 0.14],
    ]
)  # fmt: skip
HAIR = torch.tensor(
    [
        [0.07, 0.06, 0.06], [0.15, 0.10, 0.08], [0.28, 0.18, 0.11], [0.45, 0.24, 0.12],
        [0.74, 0.58, 0.34], [0.62, 0.60, 0.58],
    ]
)  # fmt: skip
SKIN = torch.tensor(
    [
        [0.95, 0.79, 0.69], [0.88, 0.68, 0.54], [0.74, 0.53, 0.39], [0.53, 0.35, 0.24],
        [0.34, 0.22, 0.16],
    ]
)  # fmt: skip
# Near-infrared reflectance and thermal transparency of wool, cotton, denim, polyester, shell,
# leather, and synthetics dyed with carbon black, which stay dark.
REFLECTANCE = torch.tensor([0.50, 0.66, 0.42, 0.78, 0.88, 0.24, 0.12])
WARMTH = torch.tensor([0.42, 0.66, 0.58, 0.70, 0.46, 0.38, 0.54])


def luminance(rgb: Tensor) -> Tensor:
    """Return the luminance (...) of colours (..., 3)."""
    return rgb @ torch.tensor([0.299, 0.587, 0.114], dtype=rgb.dtype)


@dataclass(frozen=True)
class Garment:
    """Cloth: two tones in each spectrum, and the geometry of their pattern, which all share.

    Attributes:
        visible: (B, 2, 3); infrared: (B, 2, 1); thermal: (B, 2, 1).
        pattern: (B, 8): direction (2), repeats a body height along and across it, width of the
            second tone along and across, offset and gain that combine both (see `Person.cloth`).
    """

    visible: Tensor
    infrared: Tensor
    thermal: Tensor
    pattern: Tensor

    def tones(self, spectrum: Spectrum) -> tuple[Tensor, Tensor]:
        """Return both tones, each (B, C)."""
        first, second = getattr(self, spectrum).unbind(1)
        return first, second


# direction, repeats along and across, width of the second tone along and across, offset, gain
_PATTERNS: dict[str, tuple[float, ...]] = {
    "plain": (0, 1, 0, 0, -1, -1, 0, 0),
    "stripes": (0, 1, 1, 0, 0.5, -1, 0, 1),
    "pinstripes": (1, 0, 1, 0, 0.35, -1, 0, 1),
    "checks": (0, 1, 1, 1, 0.5, 0.5, 0, 0.5),
    "dots": (0, 1, 1, 1, 0.55, 0.55, 1, 1),
    "diagonal": (0.64, 0.77, 1, 0, 0.5, -1, 0, 1),
    "band": (0, 1, 0, 0, 1, -1, 0, 1),
}


def _pattern(random: KeyedRandom, weights: Sequence[float]) -> Tensor:
    kind = random.choice(weights)
    pattern = look_up(list(_PATTERNS.values()), kind)
    repeats = random.uniform(10, 19)
    pattern[:, 2:4] *= repeats[:, None]
    pattern[:, 4:6] *= random.uniform(0.75, 1.15)[:, None]
    band = kind == list(_PATTERNS).index("band")  # one broad band on the chest
    pattern[:, 2] = torch.where(band, random.uniform(2.6, 3.4), pattern[:, 2])
    pattern[:, 4] = torch.where(band, random.uniform(0.3, 0.5), pattern[:, 4])
    return pattern


def garment(
    random: KeyedRandom, palette: Tensor, material: float, patterns: Sequence[float] = (1,)
) -> Garment:
    """Return cloth of random colour, material and pattern.

    Args:
        random: a row for each person.
        palette: colours of the first tone, (n, 3).
        material: how much of the infrared brightness follows from the luminance, 0..1.
        patterns: weights of plain, stripes, pinstripes, checks, dots, diagonals and a band.
    """
    visible = _dyed(random, palette)
    fabric = random.choice([1] * len(REFLECTANCE))
    own = REFLECTANCE.double()[fabric] + random.uniform(-0.08, 0.08)
    dye = random.uniform(0.18, 0.42) * torch.where(own > 0.5, -1, 1)
    follows = 0.08 + 0.86 * luminance(visible)  # (B, 2)
    infrared = material * follows + (1 - material) * torch.stack([own, own + dye], 1)
    gap = infrared[:, 1] - infrared[:, 0]  # a pattern's contrast may turn, but never vanishes
    least = torch.where(infrared[:, 0] > 0.5, -0.14, 0.14)
    infrared[:, 1] = infrared[:, 0] + torch.where(gap.abs() < 0.14, least, gap)
    warmth = WARMTH.double()[fabric] + random.uniform(-0.08, 0.08)
    thermal = torch.stack([warmth, warmth + random.uniform(-0.10, 0.10)], 1)
    tones = [grey.clamp(0.05, 0.97)[..., None] for grey in (infrared, thermal)]
    return Garment(visible, tones[0], tones[1], _pattern(random, patterns))


def _dyed(random: KeyedRandom, palette: Tensor) -> Tensor:
    """Return two tones of clearly different luminance, (B, 2, 3)."""
    first, second = random.colour(palette), random.colour(CLOTH)
    light = luminance(first)
    lighter = 0.35 * second + 0.65 * torch.tensor([0.93, 0.92, 0.88], dtype=torch.float64)
    contrast = torch.where((light < 0.4)[:, None], lighter, 0.35 * second)
    clear = (luminance(second) - light).abs() > 0.25
    return torch.stack([first, torch.where(clear[:, None], second, contrast)], 1)
