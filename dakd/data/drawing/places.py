"""The five backgrounds that the cameras record, each painted once as a panorama."""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dakd.runtime import make_generator

LENGTH = 6  # of a panorama, in frame widths
FINE = 144  # pixels per frame width of a panorama
VEGETATION = (0.20, 0.34, 0.16, 0.62, 0.24)  # leaves shine in the near infrared

Bands = tuple[float, float, float, float, float]  # red, green, blue, near-infrared, temperature


class Place:
    """A panorama under construction: (5, H, W) over x in 0..`LENGTH` and y in 0..2 frame units."""

    def __init__(self, seed: int) -> None:
        self.random = make_generator(seed)
        self.pixels = torch.zeros(5, 2 * FINE, LENGTH * FINE)
        self.x = (torch.arange(LENGTH * FINE) + 0.5)[None] / FINE
        self.y = (torch.arange(2 * FINE) + 0.5)[:, None] / FINE

    def number(self, low: float, high: float) -> float:
        """Return a number in `low`..`high`."""
        return low + (high - low) * float(torch.rand((), generator=self.random))

    def fill(self, mask: Tensor, colour: Bands) -> None:
        """Blend a colour into the panorama by `mask` (H, W), 0..1."""
        self.pixels += (torch.tensor(colour).reshape(5, 1, 1) - self.pixels) * mask

    def box(self, left: float, right: float, top: float, bottom: float) -> Tensor:
        """Return the mask of a rectangle."""
        return self._inside(self.x, left, right) * self._inside(self.y, top, bottom)

    def rect(self, left: float, right: float, top: float, bottom: float, colour: Bands) -> None:
        """Fill a rectangle with a colour."""
        rows = slice(max(0, int(top * FINE)), max(0, int(bottom * FINE) + 2))
        columns = slice(max(0, int(left * FINE)), max(0, int(right * FINE) + 2))
        across = self._inside(self.x[:, columns], left, right)
        mask = across * self._inside(self.y[rows], top, bottom)
        view = self.pixels[:, rows, columns]
        view += (torch.tensor(colour).reshape(5, 1, 1) - view) * mask

    @staticmethod
    def _inside(z: Tensor, low: float, high: float) -> Tensor:
        return ((z - low) * FINE).clamp(0, 1) * ((high - z) * FINE).clamp(0, 1)

    def clouds(self, cells: int, octaves: int = 3) -> Tensor:
        """Return smooth noise (H, W) of about 0..1, with `cells` per frame width."""
        total, weight = torch.zeros_like(self.pixels[0]), 0.0
        for octave in range(octaves):
            size = (2 * cells << octave, LENGTH * cells << octave)
            grid = torch.rand((1, 1, *size), generator=self.random)
            shape = self.pixels.shape[1:]
            total += F.interpolate(grid, shape, mode="bicubic")[0, 0] * 0.5**octave
            weight += 0.5**octave
        return total / weight

    def texture(self, top: float, bottom: float, cells: int, strength: float) -> None:
        """Vary the brightness between two heights."""
        field = 1 + strength * (self.clouds(cells) - 0.5) * self.box(-1, LENGTH + 1, top, bottom)
        self.pixels *= field

    def floor(self, top: float, colour: Bands, tile: float, contrast: float) -> None:
        """Paint a tiled floor in perspective, from height `top` down."""
        ground = self.box(-1, LENGTH + 1, top, 3)
        self.fill(ground, colour)
        depth = 0.35 / (self.y - top + 0.12)
        slant = (self.x - LENGTH / 2) * (0.55 + 0.45 * (self.y - top) / 0.8)
        joints = torch.maximum(
            self._lines(depth * 2.2 / tile, 0.07), self._lines(slant / tile, 0.025)
        )
        self.pixels *= 1 - contrast * joints * ground
        self.pixels *= 1 - 0.3 * ground * (1 - (self.y - top) / (2 - top)).clamp(0, 1)

    @staticmethod
    def _lines(z: Tensor, width: float) -> Tensor:
        nearest = (z - z.round()).abs()
        return (1.5 - nearest / width).clamp(0, 1)

    def grid(
        self, left: float, right: float, top: float, bottom: float, nx: int, ny: int, pane: Bands
    ) -> None:
        """Paint a window of nx by ny panes."""
        dx, dy = (right - left) / nx, (bottom - top) / ny
        for i in range(nx):
            for k in range(ny):
                shade = self.number(0.75, 1.1)
                r, g, b, nir = (min(1.0, c * shade) for c in pane[:4])
                x, y = left + i * dx, top + k * dy
                self.rect(
                    x + 0.12 * dx,
                    x + 0.88 * dx,
                    y + 0.1 * dy,
                    y + 0.9 * dy,
                    (r, g, b, nir, pane[4]),
                )

    def leaves(self, mask: Tensor, cells: int) -> None:
        """Paint foliage by a mask (H, W), 0..1."""
        field = self.clouds(cells)
        shade = (0.35 + 1.5 * (field - 0.2)).clamp(0.15, 1.6)
        bands = torch.tensor(VEGETATION).reshape(5, 1, 1) * shade
        bands[4] = VEGETATION[4]
        self.pixels += (bands - self.pixels) * (mask * (field > 0.36)).clamp(0, 1)

    def tree(self, x: float, ground: float) -> None:
        """Paint a tree trunk and its crown."""
        width = self.number(0.05, 0.09)
        self.rect(x - width, x + width, 0.2, ground, (0.26, 0.20, 0.15, 0.35, 0.22))
        self.pixels *= 1 - 0.4 * self.box(x + 0.3 * width, x + width, 0.2, ground)
        crown = ((self.x - x) / 0.55) ** 2 + ((self.y - 0.25) / 0.42) ** 2
        self.leaves((2.5 - 2.5 * crown + 1.2 * (self.clouds(5) - 0.5)).clamp(0, 1), 14)


def _hall(p: Place) -> None:
    p.rect(-1, 9, -1, 3, (0.80, 0.76, 0.68, 0.62, 0.34))
    p.rect(-1, 9, 1.02, 1.32, (0.52, 0.48, 0.42, 0.45, 0.33))
    p.rect(-1, 9, 0.99, 1.02, (0.36, 0.28, 0.20, 0.40, 0.33))
    for i in range(7):
        x = i * 0.95 + p.number(-0.1, 0.15)
        if i % 2:
            wood = (0.50, 0.34, 0.20, 0.55, 0.32)
            p.rect(x - 0.03, x + 0.49, 0.24, 1.33, (0.30, 0.21, 0.14, 0.42, 0.32))
            p.rect(x, x + 0.46, 0.27, 1.33, wood)
            p.grid(x + 0.03, x + 0.43, 0.33, 0.80, 2, 1, (0.62, 0.70, 0.72, 0.30, 0.30))
            p.rect(x + 0.39, x + 0.43, 0.86, 0.89, (0.85, 0.82, 0.7, 0.8, 0.3))
        else:
            hue = [p.number(0.2, 0.9) for _ in range(3)]
            p.rect(x, x + 0.36, 0.42, 0.86, (0.92, 0.91, 0.88, 0.75, 0.34))
            p.rect(
                x + 0.04, x + 0.32, 0.46, 0.70, (hue[0], hue[1], hue[2], p.number(0.2, 0.8), 0.34)
            )
            p.grid(x + 0.05, x + 0.31, 0.73, 0.84, 1, 4, (0.45, 0.45, 0.45, 0.5, 0.34))
    p.texture(-1, 1.32, 3, 0.12)
    p.floor(1.32, (0.60, 0.57, 0.52, 0.48, 0.30), 0.42, 0.28)


def _room(p: Place) -> None:
    p.rect(-1, 9, -1, 3, (0.72, 0.77, 0.80, 0.58, 0.33))
    for i in range(6):
        x = i * 1.05 + p.number(0.0, 0.15)
        if i % 3 == 0:
            p.rect(x - 0.03, x + 0.73, 0.12, 0.90, (0.93, 0.94, 0.95, 0.70, 0.30))
            p.grid(x, x + 0.70, 0.15, 0.87, 2, 2, (0.70, 0.84, 0.95, 0.16, 0.16))
        elif i % 3 == 1:
            p.rect(x, x + 0.62, 0.40, 1.38, (0.44, 0.36, 0.30, 0.50, 0.31))
            for row in range(4):
                y = 0.45 + row * 0.23
                p.rect(x + 0.03, x + 0.59, y, y + 0.19, (0.16, 0.14, 0.13, 0.22, 0.31))
                for book in range(8):
                    a = x + 0.04 + book * 0.068
                    tone = [p.number(0.15, 0.8) for _ in range(4)]
                    top = y + p.number(0.01, 0.07)
                    p.rect(a, a + 0.055, top, y + 0.19, (tone[0], tone[1], tone[2], tone[3], 0.32))
        else:
            p.rect(x, x + 0.75, 0.98, 1.04, (0.62, 0.50, 0.36, 0.60, 0.32))
            p.rect(x + 0.04, x + 0.09, 1.04, 1.44, (0.25, 0.25, 0.27, 0.30, 0.30))
            p.rect(x + 0.66, x + 0.71, 1.04, 1.44, (0.25, 0.25, 0.27, 0.30, 0.30))
            p.rect(x + 0.2, x + 0.55, 0.72, 0.95, (0.10, 0.11, 0.13, 0.10, 0.55))
            p.rect(x + 0.35, x + 0.4, 0.95, 0.98, (0.2, 0.2, 0.2, 0.2, 0.4))
    p.rect(-1, 9, 1.33, 1.38, (0.42, 0.44, 0.47, 0.38, 0.31))
    p.texture(-1, 1.38, 3, 0.12)
    p.floor(1.38, (0.46, 0.49, 0.54, 0.40, 0.29), 0.6, 0.2)
    p.texture(1.38, 3, 9, 0.2)


def _gate(p: Place) -> None:
    p.rect(-1, 9, -1, 3, (0.72, 0.82, 0.93, 0.20, 0.03))
    for i in range(5):
        x, top = i * 1.3 + p.number(-0.2, 0.2), p.number(0.05, 0.35)
        tone, tint = p.number(0.55, 0.75), p.number(-0.06, 0.08)
        p.rect(x, x + 1.05, top, 1.3, (tone + tint, tone, tone - tint, 0.5, 0.22))
        p.grid(x + 0.08, x + 0.97, top + 0.1, 0.98, 3, 3, (0.28, 0.36, 0.44, 0.2, 0.16))
    p.texture(0, 1.3, 4, 0.15)
    for i in range(4):
        p.tree(0.7 + i * 1.55 + p.number(-0.2, 0.2), 1.3)
    p.floor(1.28, (0.68, 0.66, 0.62, 0.55, 0.26), 0.5, 0.22)
    p.texture(1.28, 3, 12, 0.2)
    for i in range(60):
        x = i * 0.1
        p.rect(x, x + 0.016, 0.86, 1.33, (0.15, 0.19, 0.18, 0.16, 0.2))
    for y in (0.88, 1.24):
        p.rect(-1, 9, y, y + 0.025, (0.15, 0.19, 0.18, 0.16, 0.2))
    for i in range(4):
        x = 0.25 + i * 1.6
        p.rect(x, x + 0.2, 0.55, 1.36, (0.58, 0.36, 0.28, 0.5, 0.24))
        p.rect(x - 0.03, x + 0.23, 0.50, 0.56, (0.80, 0.77, 0.72, 0.6, 0.22))


def _garden(p: Place) -> None:
    p.rect(-1, 9, -1, 3, (0.62, 0.74, 0.82, 0.2, 0.05))
    p.leaves(p.box(-1, 9, 0.10, 0.95), 9)
    for i in range(6):
        p.tree(0.3 + i * 1.05 + p.number(-0.25, 0.25), 1.25)
    p.leaves((1.5 - ((p.y - 1.12) / 0.2) ** 2 + 1.5 * (p.clouds(6) - 0.5)).clamp(0, 1), 18)
    p.rect(-1, 9, 1.22, 3, (0.34, 0.46, 0.20, 0.6, 0.2))
    p.texture(1.22, 3, 24, 0.6)
    path = (1.5 - ((p.y - 1.72) / (0.24 + 0.03 * torch.sin(p.x * 2))) ** 2).clamp(0, 0.25) * 4
    p.fill(path, (0.66, 0.60, 0.50, 0.5, 0.25))
    p.texture(1.45, 3, 30, 0.25)
    for i in range(3):
        x = 0.6 + i * 2.0
        for y in (1.02, 1.10, 1.18):
            p.rect(x, x + 0.65, y, y + 0.045, (0.45, 0.30, 0.18, 0.55, 0.2))
        for a in (0.05, 0.55):
            p.rect(x + a, x + a + 0.035, 1.0, 1.36, (0.16, 0.16, 0.17, 0.2, 0.2))


def _passage(p: Place) -> None:
    p.rect(-1, 9, -1, 3, (0.30, 0.30, 0.32, 0.34, 0.16))
    for row in range(14):
        y = -0.05 + row * 0.1
        p.rect(-1, 9, y, y + 0.012, (0.2, 0.2, 0.2, 0.22, 0.15))
        for i in range(20):
            x = i * 0.3 + (row % 2) * 0.15
            p.rect(x, x + 0.012, y, y + 0.1, (0.2, 0.2, 0.2, 0.22, 0.15))
    for i in range(4):
        x = 0.3 + i * 1.5 + p.number(-0.1, 0.1)
        p.rect(x, x + 0.62, 0.2, 1.34, (0.1, 0.1, 0.1, 0.10, 0.12))
        p.rect(x + 0.03, x + 0.59, 0.24, 1.34, (0.3, 0.3, 0.3, 0.2 + 0.25 * (i % 2), 0.14))
        for k in range(11 if i % 2 else 0):
            p.rect(x + 0.03, x + 0.59, 0.26 + k * 0.098, 0.275 + k * 0.098, (0, 0, 0, 0.2, 0.13))
        p.rect(x + 0.95, x + 1.01, -1, 1.4, (0.4, 0.4, 0.4, 0.55, 0.18))
    p.texture(-1, 1.35, 5, 0.35)
    p.floor(1.34, (0.4, 0.4, 0.4, 0.42, 0.17), 0.5, 0.25)
    p.texture(1.34, 3, 14, 0.35)
    p.leaves((1.4 - ((p.y - 1.34) / 0.09) ** 2 - (2 - 4 * (p.clouds(3, 1)))).clamp(0, 1), 20)


PLACES: dict[str, Callable[[Place], None]] = {
    "hall": _hall, "room": _room, "gate": _gate, "garden": _garden, "passage": _passage,
}  # fmt: skip


@lru_cache(maxsize=8)
def panorama(name: str) -> Tensor:
    """Return a slightly blurred panorama (5, 2 FINE, LENGTH FINE), bands as in `Bands`."""
    place = Place(list(PLACES).index(name))
    PLACES[name](place)
    pixels = F.pad(place.pixels.clamp(0, 1)[None], (1, 1, 1, 1), "replicate")
    return F.avg_pool2d(pixels, 3, 1)[0]
