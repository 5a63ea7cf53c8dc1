"""A pedestrian, painted back to front."""

import torch
from torch import Tensor

from dakd.data.drawing.bags import paint_pack, paint_purse, paint_sling, paint_straps
from dakd.data.drawing.canvas import Canvas
from dakd.data.drawing.head import paint_head, paint_tail
from dakd.data.drawing.people import Identity, Picture
from dakd.data.drawing.sitter import Knot, Sitter
from dakd.data.drawing.wardrobe import Spectrum


def paint_pedestrians(canvas: Canvas, who: Identity, how: Picture, spectrum: Spectrum) -> None:
    """Paint a person on each picture of `canvas`.

    Args:
        canvas: pictures with their background.
        who, how: a row for each picture.
        spectrum: which colours are seen.
    """
    sitter = Sitter(canvas, who, how, spectrum)
    pose = sitter.pose
    faces_us, sideways = pose.cos > 0, pose.sin.abs() > 0.35
    _shadow(sitter)
    _arm(sitter, -pose.near, sideways)  # seen from the front, both arms hang beside the torso
    paint_tail(sitter, faces_us)
    paint_pack(sitter, faces_us)
    paint_sling(sitter, far=True)
    _leg(sitter, -pose.near)
    _leg(sitter, pose.near)
    _skirt(sitter)
    _torso(sitter)
    _front(sitter)
    paint_straps(sitter)
    paint_sling(sitter, far=False)
    paint_head(sitter)
    _arm(sitter, -pose.near, ~sideways)
    paint_pack(sitter, ~faces_us)
    paint_tail(sitter, ~faces_us)
    _arm(sitter, pose.near, torch.ones_like(sideways))


def _shadow(sitter: Sitter) -> None:
    """Darken the ground under the feet."""
    pose, canvas, s = sitter.pose, sitter.canvas, sitter.pose.scale
    centre, half = pose.at(0.02, 0.0, 0.002), (0.17 * s, 0.03 * s)
    window = canvas.window([centre], half[0])
    if window is None:
        return
    pool = canvas.ellipse(window, centre, half)
    depth = 0.1 if sitter.spectrum == "thermal" else 0.5
    soft = (1 - pool.bulge).clamp_(0, 1) * depth
    canvas.pixels[:, :, window.rows, window.columns].mul_(1 - soft)


def _leg(sitter: Sitter, side: Tensor) -> None:
    pose, bottom = sitter.pose, sitter.who.bottom
    hip, knee, ankle, heel, toe = pose.leg(side)
    upper, sole = sitter.tones(bottom.shoes)
    s, low = pose.scale, 0.006 * pose.scale
    under = [(heel[0], heel[1] + low), (toe[0], toe[1] + low)]
    sitter.tube(under, [0.022 * s, 0.018 * s], sole, shadow=0.3)
    sitter.tube([(heel[0], heel[1] - low), toe], [0.024 * s, 0.016 * s], upper)
    radii = [thick * s * pose.wide for thick in (0.052, 0.034, 0.021)]
    sitter.limb([hip, knee, ankle], radii, bottom.cloth, bottom.cover, bottom.loose + 0.003)


def _arm(sitter: Sitter, side: Tensor, seen: Tensor) -> None:
    pose, who = sitter.pose, sitter.who
    shoulder, elbow, wrist, tips = pose.arm(side)
    s = pose.scale * pose.wide
    sitter.tube([wrist, tips], [0.014 * s, 0.012 * s], sitter.skin, seen, shadow=0.2)
    paint_purse(sitter, tips, seen & (side == who.bag.side))
    sitter.limb(
        [shoulder, elbow, wrist], [0.029 * s, 0.024 * s, 0.017 * s],
        who.top.cloth, who.top.sleeves, 0.004 + 0.3 * who.bottom.loose, who.top.raglan, seen,
    )  # fmt: skip


def _torso(sitter: Sitter) -> None:
    pose, body, top = sitter.pose, sitter.who.body, sitter.who.top
    wide, ease = pose.wide, 0.004 + 0.4 * sitter.who.bottom.loose
    belly = 0.012 * body.build.clamp_min(0)
    chest, hips = body.shoulders * wide, body.hips * wide
    stride = 0.55 * (-top.hem).clamp_min(0) * body.stride.sin()  # a coat covers both thighs
    end, more = pose.hip + top.hem.clamp_max(-0.005), ease + top.flare
    knots: list[Knot] = [
        (0.0, pose.neck, 0.030 * wide, 0.032 * wide),
        (0.0, pose.shoulder + 0.008, 0.052 * wide, 0.040 * wide),
        (0.0, pose.shoulder - 0.030, chest + 0.010, 0.052 * wide),
        (0.006, pose.shoulder - 0.075, 0.93 * chest + ease, 0.070 * wide + ease),
        (belly, pose.hip + 0.11, 0.93 * hips + ease + belly, 0.062 * wide + ease + belly),
        (0.0, pose.hip, hips + ease, 0.074 * wide + ease),
        (0.0, end, hips + more, 0.078 * wide + more + stride),
    ]
    sitter.drape(knots, top.cloth, chest, pose.shoulder, shadow=0.25)


def _front(sitter: Sitter) -> None:
    """Paint a badge on chest and back, or the open front of a jacket."""
    pose, top, s = sitter.pose, sitter.who.top, sitter.pose.scale
    wide, high, down = top.badge.unbind(1)
    length = 0.5 * (pose.shoulder - pose.hip - top.hem)
    half = torch.where(top.open, 0.02, wide), torch.where(top.open, length, high)
    below = torch.where(top.open, length, down)
    turn = pose.cos.abs()
    seen = (turn > 0.3) & (top.printed | (top.open & (pose.cos > 0)))
    x = pose.at(0.068 * pose.cos.sign(), 0.0, pose.shoulder)[0]
    y = pose.at(0.0, 0.0, pose.shoulder)[1]
    size = (half[0] * s * turn, half[1] * s)
    colour = sitter.tones(top.cloth)[1]
    sitter.slab((x, y + below * s), size, 0.3 * torch.minimum(*size), colour, seen)


def _skirt(sitter: Sitter) -> None:
    pose, body, bottom = sitter.pose, sitter.who.body, sitter.who.bottom
    wide, hips = pose.wide, body.hips * pose.wide
    stride = 0.4 * bottom.hem * body.stride.sin()
    knots = [
        (0.0, pose.hip + 0.06, 0.95 * hips, 0.062 * wide),
        (0.0, pose.hip, hips + 0.006, 0.078 * wide),
        (0.0, pose.hip - bottom.hem, bottom.wide * wide, 0.8 * bottom.wide * wide + stride),
    ]
    sitter.drape(knots, bottom.cloth, bottom.wide, pose.hip, bottom.skirt, shadow=0.35)
