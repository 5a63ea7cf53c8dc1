"""Who walks, and how each picture was taken: every random choice, and none of the drawing.

An identity follows from the seed and its number alone, a picture from the seed, identity, camera
and number; neither depends on what else is drawn. Lengths are in units of the body's height, and
every field is (B,) unless said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dakd.config import SyntheticConfig
from dakd.data.drawing.dice import Dice, look_up
from dakd.data.drawing.wardrobe import CLOTH, HAIR, LEGS, Garment, garment


@dataclass(frozen=True)
class Physique:
    """The body."""

    height: Tensor
    build: Tensor  # -1 slender .. 1 stout
    shoulders: Tensor  # half width
    hips: Tensor  # half width
    legs: Tensor  # hip joint above the ground
    head: Tensor  # half width
    stride: Tensor  # swing of the legs, radians
    skin: Tensor  # 0 light .. 1 dark


@dataclass(frozen=True)
class Hair:
    """Hair or a cap; the tail is what falls on the back, or a bun."""

    colour: Garment
    crown: Tensor  # thickness on the skull
    fall: Tensor  # where the tail ends below the head's middle
    thick: Tensor  # half width of the tail
    tailed: Tensor  # bool
    cap: Tensor  # bool


@dataclass(frozen=True)
class Top:
    """Shirt, pullover or coat, and what is printed on it."""

    cloth: Garment
    sleeves: Tensor  # share of the arm that is covered
    raglan: Tensor  # bool: sleeves in the second tone
    hem: Tensor  # above the hip joint
    flare: Tensor  # of the hem
    printed: Tensor  # bool: a badge on the chest
    open: Tensor  # bool: the front shows the second tone
    badge: Tensor  # (B, 3): half width, half height, distance below the shoulders


@dataclass(frozen=True)
class Bottom:
    """Trousers, shorts or a skirt, and shoes."""

    cloth: Garment
    shoes: Garment
    cover: Tensor  # share of the leg under cloth
    loose: Tensor  # ease of the legs
    skirt: Tensor  # bool
    hem: Tensor  # of the skirt, below the hip joint
    wide: Tensor  # half width of the skirt's hem


@dataclass(frozen=True)
class Bag:
    """At most one bag."""

    cloth: Garment
    pack: Tensor  # bool: a backpack
    sling: Tensor  # bool: a shoulder bag
    purse: Tensor  # bool: a handbag
    wide: Tensor  # half width of the backpack
    high: Tensor  # half height of the backpack
    side: Tensor  # 1 carried on the left or -1 on the right


@dataclass(frozen=True)
class Identity:
    """What stays the same in every picture of a person."""

    body: Physique
    hair: Hair
    top: Top
    bottom: Bottom
    bag: Bag


def identities(config: SyntheticConfig, pids: Sequence[int]) -> Identity:
    """Return the people with these identity numbers."""
    dice = Dice(config.seed, [(1, int(pid)) for pid in pids])
    build = dice.between(-1, 1)
    body = Physique(
        height=dice.between(0.86, 1.0),
        build=build,
        shoulders=dice.between(0.096, 0.114) + 0.008 * build,
        hips=dice.between(0.076, 0.092) + 0.008 * build,
        legs=dice.between(0.495, 0.53),
        head=dice.between(0.046, 0.053),
        stride=dice.between(0.28, 0.48),
        skin=dice.between(0, 1),
    )
    k = config.material
    return Identity(body, _hair(dice, k), _top(dice, k), _bottom(dice, k), _bag(dice, k))


def _hair(dice: Dice, material: float) -> Hair:
    style = dice.choice([2, 5, 3, 3, 2, 2])  # cropped, short, bob, long, pony tail, bun
    colour = garment(dice, HAIR, material)
    return Hair(
        colour=replace(colour, infrared=0.25 + 0.5 * colour.infrared),  # seldom black there
        crown=torch.where(style == 0, dice.between(0.0, 0.004), dice.between(0.008, 0.018)),
        fall=look_up([0, 0, 0.085, 0.18, 0.15, -0.05], style) * dice.between(0.85, 1.2),
        thick=look_up([0, 0, 0.05, 0.052, 0.02, 0.028], style),
        tailed=style > 1,
        cap=dice.chance(0.14) & (style < 2),
    )


def _top(dice: Dice, material: float) -> Top:
    sleeve = dice.choice([4, 3, 1])  # long, short, none
    coat = dice.chance(0.2) & (sleeve == 0)
    front = dice.choice([6, 2, 2])  # closed, printed, open
    size = dice.between(0.8, 1.2)
    return Top(
        cloth=garment(dice, CLOTH, material, [6, 3, 1.5, 2, 1.5, 1, 2]),
        sleeves=look_up([0.93, 0.32, 0.06], sleeve) * dice.between(0.9, 1.04),
        raglan=dice.chance(0.2),
        hem=torch.where(coat, dice.between(-0.22, -0.12), dice.between(-0.035, 0.02)),
        flare=dice.between(0.0, 0.014),
        printed=front == 1,
        open=front == 2,
        badge=torch.stack([0.04 * size, 0.03 * size, dice.between(0.07, 0.10)], 1),
    )


def _bottom(dice: Dice, material: float) -> Bottom:
    kind = dice.choice([6, 2, 2])  # trousers, shorts, skirt
    return Bottom(
        cloth=garment(dice, LEGS, material, [10, 0.6, 0.8, 1]),
        shoes=garment(dice, CLOTH[:12], material),
        cover=look_up([0.97, 0.42, 0.0], kind) * dice.between(0.9, 1.03),
        loose=dice.between(0.0, 0.014),
        skirt=kind == 2,
        hem=dice.between(0.14, 0.30),
        wide=dice.between(0.105, 0.15),
    )


def _bag(dice: Dice, material: float) -> Bag:
    kind = dice.choice([4, 3, 2, 2])  # none, backpack, shoulder bag, handbag
    cloth = garment(dice, CLOTH, material)
    return Bag(
        cloth=replace(cloth, thermal=0.15 + 0.3 * cloth.thermal),  # no body warms it
        pack=kind == 1,
        sling=kind == 2,
        purse=kind == 3,
        wide=dice.between(0.06, 0.09),
        high=dice.between(0.085, 0.125),
        side=dice.table([1, 1], [1, -1]),
    )


@dataclass(frozen=True)
class Picture:
    """What changes from picture to picture, each (B,) unless said; lengths in frame units."""

    yaw: Tensor  # 0 faces the camera, pi / 2 walks to the right
    phase: Tensor  # of the gait, radians
    scale: Tensor
    x: Tensor
    ground: Tensor
    gain: Tensor  # of the light
    warmth: Tensor  # of the light's colour, -1..1
    sun: Tensor  # where the light comes from, -1 left to 1 right
    blur: Tensor
    noise: Tensor
    offset: Tensor  # (B, 2) 0..1, which part of the noise
    stand: Tensor  # 0..1, which part of the place
    hidden: Tensor  # bool: something stands before the person
    occluder: Tensor  # (B, 5): 1 upright or 0 low, x, half width, top, tone


def pictures(config: SyntheticConfig, keys: Sequence[tuple[int, int, int]]) -> Picture:
    """Return how the pictures (pid, cam, number) were taken."""
    dice, j = Dice(config.seed, [(2, *map(int, key)) for key in keys]), config.jitter
    quarters = [0, math.pi / 2, -math.pi / 2, math.pi]  # front, right, left, back
    turned = dice.table([3, 1.4, 1.4, 2.2], quarters)
    yaw = torch.where(dice.chance(j), turned, 0.0) + dice.between(-0.5, 0.5) * (0.1 + 0.9 * j)
    upright = dice.chance(0.45)
    left = torch.where(dice.chance(0.5), 1.0, -1.0)
    stands = dice.chance(config.occlusion)
    occluder = [
        upright.double(),
        0.5 + left * torch.where(upright, dice.between(0.22, 0.42), dice.between(0.0, 0.3)),
        torch.where(upright, dice.between(0.05, 0.11), dice.between(0.2, 0.4)),
        torch.where(upright, dice.between(-0.2, 0.3), dice.between(1.3, 1.62)),
        dice.between(0.15, 0.75),
    ]
    return Picture(
        yaw=yaw,
        phase=dice.between(-math.pi, math.pi) * (0.04 + 0.96 * j),
        scale=1.74 * (1 + j * dice.between(-0.14, 0.08)),
        x=0.5 + j * dice.between(-0.1, 0.1),
        ground=1.90 + j * dice.between(-0.09, 0.05),
        gain=1 + j * dice.between(-0.4, 0.35),
        warmth=j * dice.between(-1, 1),
        sun=j * dice.between(-1, 1),
        blur=config.noise * dice.between(0, 0.022),
        noise=config.noise * dice.between(0.4, 1),
        offset=torch.stack([dice.between(0, 1), dice.between(0, 1)], 1),
        stand=dice.between(0, 1),
        hidden=stands,
        occluder=torch.stack(occluder, 1),
    )


def select(record: Any, rows: Tensor) -> Any:
    """Return `rows` of every column of an `Identity`, a `Picture` or a `Garment`."""
    parts = {f.name: getattr(record, f.name) for f in fields(record)}
    return type(record)(
        **{k: v[rows] if isinstance(v, Tensor) else select(v, rows) for k, v in parts.items()}
    )
