"""Batched painting with signed distances: capsules, ellipses, rounded boxes and lofts.

Everything is in *frame units*: x runs 0..1 from the left, y runs 0..2 from the top, whatever the
number of pixels. A shape is evaluated only inside a window, the smallest rectangle of pixels that
holds it in every image of the batch. Per-pixel arithmetic is restricted to single additions,
products, quotients, roots and comparisons, which round the same in any batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Point = tuple[Tensor, Tensor]  # x and y, each (B,)


class Window(NamedTuple):
    """A rectangle of pixels, with the frame coordinates of its columns and rows."""

    rows: slice
    columns: slice
    x: Tensor  # (1, 1, 1, w)
    y: Tensor  # (1, 1, h, 1)


class Shape(NamedTuple):
    """A shape inside a window, every tensor (B, 1, h, w).

    Attributes:
        window: where it was evaluated.
        distance: signed distance to the outline, negative inside, frame units.
        across: horizontal part of the surface normal, -1 at the left edge to 1 at the right.
        along: 0..1 from the first to the last point (capsules), or y (other shapes).
        bulge: squared distance from the axis over the radius, 0 in the middle, 1 at the edge.
    """

    window: Window
    distance: Tensor
    across: Tensor
    along: Tensor
    bulge: Tensor


def lift(values: Tensor) -> Tensor:
    """Return (B,) or (B, C) as (B, C or 1, 1, 1)."""
    return values.reshape(len(values), -1, 1, 1)


class Canvas:
    """Images while they are painted.

    Args:
        pixels: (B, C, H, W), painted in place.
        blur: width of the soft edge of every shape in addition to a pixel, (B,) frame units.
        light: (B, 2): share of light lost at a shape's rim, and gained to its right.
    """

    def __init__(self, pixels: Tensor, blur: Tensor, light: Tensor) -> None:
        self.pixels = pixels
        B, _, H, W = pixels.shape
        self._device = pixels.device
        self._size = (H, W)
        pixel = 0.5 * (1 / W + 2 / H)
        self.margin = float(blur.max()) + 2 * pixel
        self.edge = self.put((blur**2 + pixel**2).sqrt())
        self._sharpness = 1 / self.edge
        self.light = [self.put(part) for part in light.unbind(1)]
        self._x = ((torch.arange(W, device=self._device) + 0.5) / W).reshape(1, 1, 1, W)
        self._y = ((torch.arange(H, device=self._device) + 0.5) * (2 / H)).reshape(1, 1, H, 1)

    def put(self, values: Tensor) -> Tensor:
        """Move parameters (B,) or (B, C) to the canvas as float32 (B, C or 1, 1, 1)."""
        return lift(values).to(self._device, torch.float32)

    def window(
        self, points: Sequence[Point], reach: Tensor, shown: Tensor | None = None
    ) -> Window | None:
        """Return the pixels within `reach` (B,) of any of the points, None if there are none.

        Args:
            points: what has to be inside.
            reach: distance from the points that has to be inside too, (B,).
            shown: images that count, (B,) bool; None is all.
        """
        H, W = self._size
        xs, ys = torch.stack([x for x, _ in points]), torch.stack([y for _, y in points])  # (n, B)
        if shown is not None:
            if not bool(shown.any()):
                return None
            xs, ys, reach = xs[:, shown], ys[:, shown], reach[shown]
        reach = reach + self.margin
        left, right = float((xs - reach).min()) * W, float((xs + reach).max()) * W
        top, bottom = float((ys - reach).min()) * H / 2, float((ys + reach).max()) * H / 2
        columns = slice(max(0, int(left)), min(W, int(right) + 1))
        rows = slice(max(0, int(top)), min(H, int(bottom) + 1))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        return Window(rows, columns, self._x[..., columns], self._y[:, :, rows])

    def capsules(self, window: Window, points: list[Point], radii: list[Tensor]) -> Shape:
        """Return the union of tapered capsules along a line of points with radii (B,) at each."""
        parts = len(points) - 1
        best = self._capsule(window, points[:2], radii[:2])
        for i in range(1, parts):
            distance, ex, h, r, square = self._capsule(window, points[i : i + 2], radii[i : i + 2])
            nearer = distance < best[0]
            mine = (distance, ex, h + i, r, square)
            best = tuple(torch.where(nearer, a, b) for a, b in zip(mine, best, strict=True))
        distance, ex, along, r, square = best
        inverse = 1 / r
        return Shape(window, distance, ex * inverse, along / parts, square * (inverse * inverse))

    def _capsule(
        self, window: Window, points: list[Point], radii: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return distance, x from the axis, place on the axis, radius there, squared x and y."""
        (ax, ay), (bx, by) = points
        vx, vy = self.put(bx - ax), self.put(by - ay)
        px, py = window.x - self.put(ax), window.y - self.put(ay)  # columns, rows
        scale = 1 / (vx * vx + vy * vy).clamp_min(1e-9)
        h = (px * (vx * scale) + py * (vy * scale)).clamp_(0, 1)
        ex, ey = px - h * vx, py - h * vy
        r = h * self.put(radii[1] - radii[0]) + self.put(radii[0])
        square = ex * ex + ey * ey
        return square.sqrt() - r, ex, h, r, square

    def ellipse(self, window: Window, centre: Point, half: Point) -> Shape:
        """Return ellipses with half axes (B,) (the distance is exact only at the outline)."""
        a, b = self.put(half[0]), self.put(half[1])
        across = (window.x - self.put(centre[0])) / a
        up = (window.y - self.put(centre[1])) / b
        bulge = across * across + up * up
        distance = (bulge.sqrt() - 1) * torch.minimum(a, b)
        return Shape(window, distance, across, window.y, bulge)

    def box(self, window: Window, centre: Point, half: Point, round: Tensor) -> Shape:
        """Return boxes with half sides and corner radius `round` (B,)."""
        a, b, r = self.put(half[0]), self.put(half[1]), self.put(round)
        x = window.x - self.put(centre[0])
        qx, qy = x.abs() - (a - r), (window.y - self.put(centre[1])).abs() - (b - r)
        ox, oy = qx.clamp_min(0), qy.clamp_min(0)
        distance = (ox * ox + oy * oy).sqrt() + torch.maximum(qx, qy).clamp_max(0) - r
        across = x / a
        return Shape(window, distance, across, window.y, across * across)

    def loft(
        self, window: Window, y: list[Tensor], centre: list[Tensor], half: list[Tensor]
    ) -> Shape:
        """Return upright bodies whose middle and half width change smoothly between heights `y`.

        Args:
            window: where to evaluate them.
            y: heights from top to bottom, each (B,).
            centre, half: middle and half width at those heights, each (B,).
        """
        c, w, slope = self.put(centre[0]), self.put(half[0]), torch.zeros_like(window.y)
        for i in range(len(y) - 1):
            span = (y[i + 1] - y[i]).clamp_min(1e-4)
            t = ((window.y - self.put(y[i])) / self.put(span)).clamp(0, 1)
            step = t * t * (3 - 2 * t)
            rise = self.put(half[i + 1] - half[i])
            c = c + step * self.put(centre[i + 1] - centre[i])
            w = w + step * rise
            slope = slope + 6 * t * (1 - t) * rise / self.put(span)
        across = (window.x - c) / w
        distance = (across.abs() - 1) * (w / (1 + slope * slope).sqrt())
        ends = torch.maximum(self.put(y[0]) - window.y, window.y - self.put(y[-1]))
        return Shape(window, torch.maximum(distance, ends), across, window.y, across * across)

    def shade(self, shape: Shape) -> Tensor:
        """Return the light on a shape, (B, 1, h, w), 1 in its middle."""
        rim, right = self.light
        return 1 - shape.bulge.clamp_max(1) * rim + shape.across.clamp(-1, 1) * right

    def cover(self, distance: Tensor) -> Tensor:
        """Return the share of each pixel inside an outline, from signed distances."""
        return (0.5 - distance * self._sharpness).clamp_(0, 1)

    def paint(
        self, shape: Shape, colour: Tensor, shown: Tensor | None = None, shadow: float = 0.0
    ) -> None:
        """Blend `colour` (B, C, 1 or h, 1 or w) into the images where the shape is.

        Args:
            shape: what to paint.
            colour: radiance.
            shown: images to paint in, (B,) bool; None is all.
            shadow: how dark a soft shadow falls on what lies behind, around the shape.
        """
        view = self.pixels[:, :, shape.window.rows, shape.window.columns]
        cover = self.cover(shape.distance)
        near = (1 - shape.distance * 25).clamp_(0, 1) * shadow if shadow else None
        if shown is not None:
            there = self.put(shown)
            cover = cover * there
            near = None if near is None else near * there
        if near is not None:
            view.mul_(1 - near)
        view.add_((colour - view).mul_(cover))
