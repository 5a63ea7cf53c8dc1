"""Backpack, shoulder bag and handbag, each painted in some images of a batch."""

from torch import Tensor

from dakd.data.drawing.canvas import Point
from dakd.data.drawing.person import Person


def paint_backpack(person: Person, mask: Tensor) -> None:
    """Paint the backpack itself, in the images of `mask` (B,) bool."""
    pose, bag, s = person.pose, person.identity.bag, person.pose.scale
    shown, (first, second) = bag.backpack & mask, person.tones(bag.cloth)
    centre = pose.at(-0.098, 0.0, pose.shoulder - 0.03 - bag.high)
    half = (pose.half(bag.wide, 0.045), bag.high * s)
    person.slab(centre, half, 0.035 * s, first, shown, shadow=0.3)
    low = (centre[0], centre[1] + 0.45 * half[1])
    person.slab(low, (0.72 * half[0], 0.36 * half[1]), 0.02 * s, second, shown)


def paint_straps(person: Person) -> None:
    """Paint the backpack's straps on the chest."""
    pose, identity = person.pose, person.identity
    shown, colour = (
        identity.bag.backpack & (pose.cos > -0.2),
        0.9 * person.tones(identity.bag.cloth)[0],
    )
    for side in (-1.0, 1.0):
        out = side * identity.body.shoulders * 0.55
        line = [
            pose.at(0.0, out, pose.neck - 0.012),
            pose.at(0.066, 1.1 * out, pose.shoulder - 0.06),
            pose.at(0.03, 1.5 * out, pose.shoulder - 0.16),
        ]
        person.tube(line, [0.0085 * pose.scale] * 3, colour, shown)


def paint_shoulder_bag(person: Person, far: bool) -> None:
    """Paint a shoulder bag at the hip, the strap over the other shoulder.

    Args:
        person: who carries it.
        far: paint the bags behind the body; otherwise those in front of it, with the strap.
    """
    pose, identity, s = person.pose, person.identity, person.pose.scale
    side = identity.bag.side
    behind = side * pose.near * pose.sin.abs() < -0.35
    shown = identity.bag.shoulder_bag & (behind if far else ~behind)
    first, second = person.tones(identity.bag.cloth)
    hip = pose.at(0.0, side * (identity.body.hips + 0.03), pose.hip + 0.045)
    if not far:
        chest = pose.at(0.06 * pose.cos.sign(), 0.0, 0.5 * (pose.shoulder + pose.hip) + 0.02)
        shoulder = pose.at(0.0, -0.5 * side * identity.body.shoulders, pose.neck - 0.012)
        person.tube([shoulder, chest, hip], [0.008 * s] * 3, second, shown)
    centre, half = (hip[0], hip[1] + 0.055 * s), (pose.half(0.03, 0.085), 0.06 * s)
    person.slab(centre, half, 0.015 * s, first, shown, shadow=0.3)
    flap = (centre[0], centre[1] - 0.025 * s)
    person.slab(flap, (0.98 * half[0], 0.034 * s), 0.012 * s, second, shown)


def paint_handbag(person: Person, hand: Point, mask: Tensor) -> None:
    """Paint a handbag that hangs from `hand`, in the images of `mask` (B,) bool."""
    pose, canvas, s = person.pose, person.canvas, person.pose.scale
    shown = person.identity.bag.handbag & mask
    first, second = person.tones(person.identity.bag.cloth)
    centre, half = (hand[0], hand[1] + 0.085 * s), (pose.half(0.035, 0.075), 0.055 * s)
    window = canvas.window([(hand[0], hand[1] + 0.035 * s)], 0.05 * s, shown)
    if window is not None:
        loop = canvas.ellipse(window, (hand[0], hand[1] + 0.035 * s), (0.55 * half[0], 0.04 * s))
        ring = loop._replace(distance=loop.distance.abs() - canvas.put(0.005 * s))
        canvas.paint(ring, 0.9 * second, shown)
    person.slab(centre, half, 0.014 * s, first, shown, shadow=0.25)
    band = (centre[0], centre[1] - 0.018 * s)
    person.slab(band, (half[0], 0.01 * s), 0.002 * s, second, shown)
