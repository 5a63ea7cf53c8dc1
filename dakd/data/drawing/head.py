"""Neck, face, hair and cap."""

import math

import torch
from torch import Tensor

from dakd.data.drawing.canvas import Point
from dakd.data.drawing.person import Person, lifted

MARKS = (  # eyes and mouth: turn of the head's axis, below its middle, half length, half height
    (0.44, 0.004, 0.006, 0.0056),
    (-0.44, 0.004, 0.006, 0.0056),
    (0.0, 0.036, 0.009, 0.0022),
)


def paint_head(person: Person) -> None:
    """Paint the neck, the skull with its face, and the hair or cap over it."""
    pose, s = person.pose, person.pose.scale
    base, top = pose.at(0.012, 0.0, pose.shoulder + 0.012), pose.at(0.004, 0.0, pose.head - 0.04)
    person.tube([base, top], [0.029 * s * pose.wide, 0.026 * s], 0.88 * person.skin)
    centre = pose.at(0.006, 0.0, pose.head)
    half = (pose.half(person.identity.body.head, 0.057), 0.066 * s)
    _skull(person, centre, half)


def _skull(person: Person, centre: Point, half: Point) -> None:
    pose, hair, canvas, s = person.pose, person.identity.hair, person.canvas, person.pose.scale
    crown = (half[0] + hair.crown * s, half[1] + 0.8 * hair.crown * s)
    window = canvas.window([centre], torch.maximum(*crown) + 0.01 * s)
    if window is None:
        return
    skull = canvas.ellipse(window, centre, half)
    canvas.paint(skull, person.skin * canvas.shade(skull), shadow=0.2)
    _face(person, centre, half)
    shock = canvas.ellipse(window, (centre[0] - 0.006 * s * pose.sin, centre[1] - 0.006 * s), crown)
    turn = 0.5 + 0.5 * pose.cos
    away = 9.0 * (pose.cos < -0.75)  # from behind, nothing of the face is free of hair
    middle = (centre[0] + 0.034 * s * pose.sin + away, centre[1] + 0.024 * s)
    face = canvas.ellipse(window, middle, (half[0] * (0.35 + 0.58 * turn), 0.064 * s))
    nape = window.y - canvas.put(centre[1] + (0.036 + 0.012 * (1 - turn)) * s)
    distance = torch.maximum(torch.maximum(shock.distance, -face.distance), nape)
    colour, cloth = person.tones(hair.colour)[0], person.tones(person.identity.bag.cloth)[1]
    colour = torch.where(lifted(hair.cap, colour), cloth, colour)
    canvas.paint(shock._replace(distance=distance), colour * canvas.shade(shock))
    shown, side = hair.cap & (pose.cos > -0.5), half[0] * 0.8 * pose.cos.abs()
    y = centre[1] - 0.032 * s
    brim = [(centre[0] - side, y), (centre[0] + side + 0.095 * s * pose.sin, y + 0.012 * s)]
    person.tube(brim, [0.009 * s, 0.009 * s], 0.85 * cloth, shown, shadow=0.2)


def _face(person: Person, centre: Point, half: Point) -> None:
    """Paint the nose, which shows in profile, eyes and mouth."""
    pose, s = person.pose, person.pose.scale
    nose = [pose.at(0.05, 0.0, pose.head + 0.008), pose.at(0.064, 0.0, pose.head - 0.012)]
    person.tube(nose, [0.005 * s, 0.008 * s], 0.85 * person.skin, pose.cos > -0.3)
    for angle, down, long, thick in MARKS:
        facing = pose.cos * math.cos(angle) - pose.sin * math.sin(angle)
        turn = pose.sin * math.cos(angle) + pose.cos * math.sin(angle)
        x, y = centre[0] + 0.9 * half[0] * turn, centre[1] + down * s
        wide = long * s * facing.clamp_min(0.2)
        mark = [(x - wide, y), (x + wide, y)]
        person.tube(mark, [thick * s, thick * s], person.dark, facing > 0.25)


def paint_tail(person: Person, mask: Tensor) -> None:
    """Paint hair that falls on the back, or a bun, in the images of `mask` (B,) bool."""
    pose, hair = person.pose, person.identity.hair
    top = pose.at(-0.028, 0.0, pose.head + 0.01 + 0.035 * (hair.fall < 0))
    radius = hair.thick * pose.scale
    line = [top, pose.at(-0.048, 0.0, pose.head - hair.fall)]
    colour = 0.92 * person.tones(hair.colour)[0]
    person.tube(line, [radius, 0.9 * radius], colour, hair.tailed & mask)
