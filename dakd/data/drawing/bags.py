"""Backpack, shoulder bag and handbag; each says in which pictures (B,) bool it is painted."""

from torch import Tensor

from dakd.data.drawing.canvas import Point
from dakd.data.drawing.sitter import Sitter


def paint_pack(sitter: Sitter, mask: Tensor) -> None:
    """Paint the backpack itself."""
    pose, bag, s = sitter.pose, sitter.who.bag, sitter.pose.scale
    seen, (first, second) = bag.pack & mask, sitter.tones(bag.cloth)
    centre = pose.at(-0.098, 0.0, pose.shoulder - 0.03 - bag.high)
    half = (pose.half(bag.wide, 0.045), bag.high * s)
    sitter.slab(centre, half, 0.035 * s, first, seen, shadow=0.3)
    low = (centre[0], centre[1] + 0.45 * half[1])
    sitter.slab(low, (0.72 * half[0], 0.36 * half[1]), 0.02 * s, second, seen)


def paint_straps(sitter: Sitter) -> None:
    """Paint the backpack's straps on the chest."""
    pose, who = sitter.pose, sitter.who
    seen, colour = who.bag.pack & (pose.cos > -0.2), 0.9 * sitter.tones(who.bag.cloth)[0]
    for side in (-1.0, 1.0):
        out = side * who.body.shoulders * 0.55
        line = [
            pose.at(0.0, out, pose.neck - 0.012),
            pose.at(0.066, 1.1 * out, pose.shoulder - 0.06),
            pose.at(0.03, 1.5 * out, pose.shoulder - 0.16),
        ]
        sitter.tube(line, [0.0085 * pose.scale] * 3, colour, seen)


def paint_sling(sitter: Sitter, far: bool) -> None:
    """Paint a shoulder bag at the hip, the strap over the other shoulder.

    Args:
        sitter: who carries it.
        far: paint those behind the body; otherwise those before it, with the strap.
    """
    pose, who, s = sitter.pose, sitter.who, sitter.pose.scale
    side = who.bag.side
    behind = side * pose.near * pose.sin.abs() < -0.35
    seen = who.bag.sling & (behind if far else ~behind)
    first, second = sitter.tones(who.bag.cloth)
    hip = pose.at(0.0, side * (who.body.hips + 0.03), pose.hip + 0.045)
    if not far:
        chest = pose.at(0.06 * pose.cos.sign(), 0.0, 0.5 * (pose.shoulder + pose.hip) + 0.02)
        shoulder = pose.at(0.0, -0.5 * side * who.body.shoulders, pose.neck - 0.012)
        sitter.tube([shoulder, chest, hip], [0.008 * s] * 3, second, seen)
    centre, half = (hip[0], hip[1] + 0.055 * s), (pose.half(0.03, 0.085), 0.06 * s)
    sitter.slab(centre, half, 0.015 * s, first, seen, shadow=0.3)
    flap = (centre[0], centre[1] - 0.025 * s)
    sitter.slab(flap, (0.98 * half[0], 0.034 * s), 0.012 * s, second, seen)


def paint_purse(sitter: Sitter, hand: Point, mask: Tensor) -> None:
    """Paint a handbag hanging from `hand`."""
    pose, canvas, s = sitter.pose, sitter.canvas, sitter.pose.scale
    seen = sitter.who.bag.purse & mask
    first, second = sitter.tones(sitter.who.bag.cloth)
    centre, half = (hand[0], hand[1] + 0.085 * s), (pose.half(0.035, 0.075), 0.055 * s)
    window = canvas.window([(hand[0], hand[1] + 0.035 * s)], 0.05 * s, seen)
    if window is not None:
        loop = canvas.ellipse(window, (hand[0], hand[1] + 0.035 * s), (0.55 * half[0], 0.04 * s))
        ring = loop._replace(distance=loop.distance.abs() - canvas.put(0.005 * s))
        canvas.paint(ring, 0.9 * second, seen)
    sitter.slab(centre, half, 0.014 * s, first, seen, shadow=0.25)
    band = (centre[0], centre[1] - 0.018 * s)
    sitter.slab(band, (half[0], 0.01 * s), 0.002 * s, second, seen)
