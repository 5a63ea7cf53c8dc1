"""A person on a canvas, with the primitives that parts of a pedestrian are painted with."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dakd.data.drawing.canvas import Canvas, Point
from dakd.data.drawing.people import Conditions, Identity
from dakd.data.drawing.pose import Pose
from dakd.data.drawing.wardrobe import SKIN, Garment, Spectrum

Knot = tuple[Tensor | float, Tensor, Tensor, Tensor]  # forward, up, half width, half depth


class Person:
    """People, a row for each image, with their pose and their colours in one spectrum.

    Args:
        canvas: images that hold their background.
        identity, conditions: a row for each image.
        spectrum: the band of light that the camera records.

    Attributes:
        skin, dark: radiance of skin, and of eyes and mouth, (B, C, 1, 1).
    """

    def __init__(
        self, canvas: Canvas, identity: Identity, conditions: Conditions, spectrum: Spectrum
    ) -> None:
        self.canvas, self.identity, self.spectrum = canvas, identity, spectrum
        self.pose = Pose(identity.body, conditions)
        self.skin, self.dark = map(canvas.put, self._skin())

    def _skin(self) -> tuple[Tensor, Tensor]:
        tone = self.identity.body.skin
        if self.spectrum == "visible":
            place = tone * (len(SKIN) - 1.001)
            low = place.long()
            share, ramp = (place - low)[:, None], SKIN.double()
            skin = ramp[low] * (1 - share) + ramp[low + 1] * share
            return skin, skin * torch.tensor([0.42, 0.30, 0.28], dtype=torch.float64)
        if self.spectrum == "infrared":  # melanin matters little there
            return (0.78 - 0.16 * tone)[:, None], (0.32 - 0.06 * tone)[:, None]
        return (0.93 - 0.03 * tone)[:, None], (0.81 + 0.0 * tone)[:, None]

    def tones(self, garment: Garment) -> tuple[Tensor, Tensor]:
        """Return both tones of a garment, each (B, C, 1, 1)."""
        first, second = garment.tones(self.spectrum)
        return self.canvas.put(first), self.canvas.put(second)

    def tube(
        self, points: list[Point], radii: Sequence[Tensor], colour: Tensor,
        shown: Tensor | None = None, shadow: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint tapered capsules along `points`."""
        window = self.canvas.window(points, torch.stack(list(radii)).amax(0), shown)
        if window is not None:
            shape = self.canvas.capsules(window, points, list(radii))
            self.canvas.paint(shape, colour * self.canvas.shade(shape), shown, shadow)

    def slab(
        self, centre: Point, half: Point, round: Tensor, colour: Tensor,
        shown: Tensor | None = None, shadow: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint rounded boxes."""
        window = self.canvas.window([centre], torch.maximum(*half), shown)
        if window is not None:
            shape = self.canvas.box(window, centre, half, round)
            self.canvas.paint(shape, colour * self.canvas.shade(shape), shown, shadow)

    def drape(
        self, knots: Sequence[Knot], garment: Garment, width: Tensor, top: Tensor,
        shown: Tensor | None = None, shadow: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint cloth on an upright body.

        Args:
            knots: its silhouette, from top to bottom.
            garment: what it is made of.
            width: half width over which its pattern runs, (B,) body heights.
            top: height where its pattern begins, (B,) body heights.
            shown, shadow: as for `Canvas.paint`.
        """
        pose, canvas = self.pose, self.canvas
        points = [pose.at(forward, 0.0, up) for forward, up, _, _ in knots]
        half = [pose.half(lateral, depth) for _, _, lateral, depth in knots]
        pairs = list(zip(points, half, strict=True))
        sides = [(x + sign * w, y) for (x, y), w in pairs for sign in (-1, 1)]
        window = canvas.window(sides, torch.zeros_like(pose.scale), shown)
        if window is None:
            return
        shape = canvas.loft(window, [y for _, y in points], [x for x, _ in points], half)
        begin = canvas.put(pose.at(0.0, 0.0, top)[1])
        u, v = shape.across * canvas.put(width), (shape.along - begin) * canvas.put(1 / pose.scale)
        canvas.paint(shape, self.cloth(garment, u, v) * canvas.shade(shape), shown, shadow)

    def cloth(self, garment: Garment, u: Tensor, v: Tensor) -> Tensor:
        """Return patterned cloth (B, C, h, w); u runs across and v down it, in body heights."""
        put, (first, second) = self.canvas.put, self.tones(garment)
        du, dv, along, across, wide, narrow, offset, gain = map(put, garment.pattern.unbind(1))
        soft = 2 * self.canvas.edge / put(self.pose.scale)  # two pixels, in body heights
        one = _wave(u * (du * along) + v * (dv * along), wide, soft * along)
        two = _wave(u * (dv * across) - v * (du * across), narrow, soft * across)
        return first + (second - first) * ((one + two - offset) * gain).clamp_(0, 1)

    def limb(
        self, points: list[Point], radii: list[Tensor], garment: Garment, cover: Tensor,
        ease: Tensor, raglan: Tensor | None = None, shown: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Paint skin, and cloth over the first `cover` of the length, `ease` thicker."""
        canvas, scale = self.canvas, self.pose.scale
        window = canvas.window(points, radii[0] + ease * scale, shown)
        if window is None:
            return
        shape, length = canvas.capsules(window, points, radii), _length(points)
        clad = canvas.cover((shape.along - canvas.put(cover)) * canvas.put(length.clamp_min(0.05)))
        shape = shape._replace(distance=shape.distance - clad * canvas.put(ease * scale))
        u, v = shape.across * canvas.put(radii[0] / scale), shape.along * canvas.put(length / scale)
        cloth = self.cloth(garment, u, v)
        if raglan is not None:
            cloth = torch.where(lifted(raglan, cloth), self.tones(garment)[1], cloth)
        colour = self.skin + (cloth - self.skin) * clad
        canvas.paint(shape, colour * canvas.shade(shape), shown, shadow=0.2)


def lifted(flag: Tensor, like: Tensor) -> Tensor:
    """Return a flag (B,) on the device of `like`, (B, 1, 1, 1)."""
    return flag.to(like.device).reshape(-1, 1, 1, 1)


def _length(points: list[Point]) -> Tensor:
    legs = pairwise(points)
    return torch.stack([((c - a) ** 2 + (d - b) ** 2).sqrt() for (a, b), (c, d) in legs]).sum(0)


def _wave(z: Tensor, width: Tensor, soft: Tensor) -> Tensor:
    """Return 1 in the `width` share of each period of z, softened over `soft` periods."""
    ramp = (2 * (z - z.floor()) - 1).abs()
    return (0.5 + (width - ramp) / (soft + 1e-3)).clamp_(0, 1)
