"""A pedestrian, painted back to front."""

import torch
from torch import Tensor

from dakd.data.drawing.bags import paint_backpack, paint_handbag, paint_shoulder_bag, paint_straps
from dakd.data.drawing.canvas import Canvas
from dakd.data.drawing.head import paint_head, paint_tail
from dakd.data.drawing.people import Conditions, Identity
from dakd.data.drawing.person import Knot, Person
from dakd.data.drawing.wardrobe import Spectrum


def paint_pedestrians(
    canvas: Canvas, identity: Identity, conditions: Conditions, spectrum: Spectrum
) -> None:
    """Paint a person on each image of `canvas`.

    Args:
        canvas: images that hold their background.
        identity, conditions: a row for each image.
        spectrum: the band of light that the camera records.
    """
    person = Person(canvas, identity, conditions, spectrum)
    pose = person.pose
    faces_camera, sideways = pose.cos > 0, pose.sin.abs() > 0.35
    _shadow(person)
    _arm(person, -pose.near, sideways)  # in a frontal view, both arms hang beside the torso
    paint_tail(person, faces_camera)
    paint_backpack(person, faces_camera)
    paint_shoulder_bag(person, far=True)
    _leg(person, -pose.near)
    _leg(person, pose.near)
    _skirt(person)
    _torso(person)
    _front(person)
    paint_straps(person)
    paint_shoulder_bag(person, far=False)
    paint_head(person)
    _arm(person, -pose.near, ~sideways)
    paint_backpack(person, ~faces_camera)
    paint_tail(person, ~faces_camera)
    _arm(person, pose.near, torch.ones_like(sideways))


def _shadow(person: Person) -> None:
    """Darken the ground under the feet."""
    pose, canvas, s = person.pose, person.canvas, person.pose.scale
    centre, half = pose.at(0.02, 0.0, 0.002), (0.17 * s, 0.03 * s)
    window = canvas.window([centre], half[0])
    if window is None:
        return
    pool = canvas.ellipse(window, centre, half)
    depth = 0.1 if person.spectrum == "thermal" else 0.5
    soft = (1 - pool.bulge).clamp_(0, 1) * depth
    canvas.pixels[:, :, window.rows, window.columns].mul_(1 - soft)


def _leg(person: Person, side: Tensor) -> None:
    pose, bottom = person.pose, person.identity.bottom
    hip, knee, ankle, heel, toe = pose.leg(side)
    upper, sole = person.tones(bottom.shoes)
    s, low = pose.scale, 0.006 * pose.scale
    under = [(heel[0], heel[1] + low), (toe[0], toe[1] + low)]
    person.tube(under, [0.022 * s, 0.018 * s], sole, shadow=0.3)
    person.tube([(heel[0], heel[1] - low), toe], [0.024 * s, 0.016 * s], upper)
    radii = [thick * s * pose.wide for thick in (0.052, 0.034, 0.021)]
    person.limb([hip, knee, ankle], radii, bottom.cloth, bottom.cover, bottom.loose + 0.003)


def _arm(person: Person, side: Tensor, shown: Tensor) -> None:
    pose, identity = person.pose, person.identity
    shoulder, elbow, wrist, tips = pose.arm(side)
    s = pose.scale * pose.wide
    person.tube([wrist, tips], [0.014 * s, 0.012 * s], person.skin, shown, shadow=0.2)
    paint_handbag(person, tips, shown & (side == identity.bag.side))
    person.limb(
        [shoulder, elbow, wrist], [0.029 * s, 0.024 * s, 0.017 * s],
        identity.top.cloth, identity.top.sleeves, 0.004 + 0.3 * identity.bottom.loose,
        identity.top.raglan, shown,
    )  # fmt: skip


def _torso(person: Person) -> None:
    pose, body, top = person.pose, person.identity.body, person.identity.top
    wide, ease = pose.wide, 0.004 + 0.4 * person.identity.bottom.loose
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
    person.drape(knots, top.cloth, chest, pose.shoulder, shadow=0.25)


def _front(person: Person) -> None:
    """Paint a badge on chest and back, or the open front of a jacket."""
    pose, top, s = person.pose, person.identity.top, person.pose.scale
    wide, high, down = top.badge.unbind(1)
    length = 0.5 * (pose.shoulder - pose.hip - top.hem)
    half = torch.where(top.open, 0.02, wide), torch.where(top.open, length, high)
    below = torch.where(top.open, length, down)
    turn = pose.cos.abs()
    shown = (turn > 0.3) & (top.printed | (top.open & (pose.cos > 0)))
    x = pose.at(0.068 * pose.cos.sign(), 0.0, pose.shoulder)[0]
    y = pose.at(0.0, 0.0, pose.shoulder)[1]
    size = (half[0] * s * turn, half[1] * s)
    colour = person.tones(top.cloth)[1]
    person.slab((x, y + below * s), size, 0.3 * torch.minimum(*size), colour, shown)


def _skirt(person: Person) -> None:
    pose, body, bottom = person.pose, person.identity.body, person.identity.bottom
    wide, hips = pose.wide, body.hips * pose.wide
    stride = 0.4 * bottom.hem * body.stride.sin()
    knots = [
        (0.0, pose.hip + 0.06, 0.95 * hips, 0.062 * wide),
        (0.0, pose.hip, hips + 0.006, 0.078 * wide),
        (0.0, pose.hip - bottom.hem, bottom.wide * wide, 0.8 * bottom.wide * wide + stride),
    ]
    person.drape(knots, bottom.cloth, bottom.wide, pose.hip, bottom.skirt, shadow=0.35)
