"""The skeleton: the joints in a stride, and their projection to the image."""

import math

import torch
from torch import Tensor

from dakd.data.drawing.canvas import Point
from dakd.data.drawing.people import Conditions, Physique

TILT = 0.16  # the camera points down a little, so nearer points lie lower in the image
ANKLE = 0.035  # height of the ankle
Number = Tensor | float


class Pose:
    """Posed bodies; `at` projects (forward, left, up) in body heights to the frame.

    Args:
        body: the bodies.
        conditions: position, scale, yaw and phase in each image.

    Attributes:
        near: the side nearer to the camera, 1 left or -1 right, (B,).
        scale: a body height in frame units, (B,).
        wide: how much wider than average the body is, (B,).
        hip, shoulder, neck, head: heights above the ground, (B,) body heights.
    """

    def __init__(self, body: Physique, conditions: Conditions) -> None:
        self._body, self._phase = body, conditions.phase
        self._x, self._ground = conditions.x, conditions.ground
        self.sin, self.cos = conditions.yaw.sin(), conditions.yaw.cos()
        self.scale = conditions.scale * body.height
        self.near = torch.where(self.sin > 0, -1.0, 1.0).double()
        self.wide = 1 + 0.14 * body.build
        length = body.legs - ANKLE
        self._bones = (0.52 * length, 0.48 * length)
        reach = [
            self._bones[0] * thigh.cos() + self._bones[1] * (thigh - knee).cos()
            for thigh, knee in map(self._swing, (self.near, -self.near))
        ]
        self.hip = torch.maximum(*reach) + ANKLE  # the straighter leg stands on the ground
        self.shoulder = self.hip + (0.815 - body.legs)
        self.neck = self.shoulder + 0.026
        self.head = self.shoulder + 0.117

    def at(self, forward: Number, left: Number, up: Number) -> Point:
        """Project points of the body, each (B,)."""
        depth = forward * self.cos - left * self.sin
        x = self._x + self.scale * (forward * self.sin + left * self.cos)
        return x, self._ground - self.scale * (up - TILT * depth)

    def half(self, lateral: Number, depth: Number) -> Tensor:
        """Return the half width in the frame of an upright body with these half axes, (B,)."""
        return self.scale * ((lateral * self.cos) ** 2 + (depth * self.sin) ** 2).sqrt()

    def _half_cycle(self, side: Tensor) -> Tensor:
        return self._phase + torch.where(side < 0, math.pi, 0.0)

    def _swing(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angles of thigh and knee, radians; a knee bends as its leg comes forward."""
        p = self._half_cycle(side)
        bent = (p + 0.5).cos().clamp_min(0) ** 2
        return self._body.stride * p.sin(), 0.07 + 1.7 * self._body.stride * bent

    def leg(self, side: Tensor) -> list[Point]:
        """Return hip, knee, ankle, heel and toe."""
        thigh, knee = self._swing(side)
        upper, lower = self._bones
        out, shin = self._body.hips * 0.52 * side, thigh - knee
        f1, u1 = upper * thigh.sin(), self.hip - upper * thigh.cos()
        f2, u2 = f1 + lower * shin.sin(), u1 - lower * shin.cos()
        foot = 0.6 * shin
        ends = (f2 + 0.075 * foot.cos(), u2 - 0.022 + 0.075 * foot.sin())
        return [
            self.at(0.0, out, self.hip), self.at(f1, out, u1), self.at(f2, 0.9 * out, u2),
            self.at(f2 - 0.018, 0.9 * out, u2 - 0.018), self.at(ends[0], 0.9 * out, ends[1]),
        ]  # fmt: skip

    def arm(self, side: Tensor) -> list[Point]:
        """Return shoulder, elbow, wrist and finger tips; arms swing against the legs."""
        upper = -0.75 * self._body.stride * self._half_cycle(side).sin()
        lower = upper + 0.18 + 0.5 * upper.clamp_min(0)
        out = self._body.shoulders * self.wide * side
        forward, up = torch.zeros_like(upper), self.shoulder - 0.048
        points = [self.at(forward, 0.95 * out, up)]
        bones = ((0.155, upper, 1.14), (0.135, lower, 1.17), (0.045, lower, 1.12))
        for length, angle, spread in bones:
            forward, up = forward + length * angle.sin(), up - length * angle.cos()
            points.append(self.at(forward, spread * out, up))
        return points
