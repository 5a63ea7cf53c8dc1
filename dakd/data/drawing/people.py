"""Random choices of the drawing: who walks by, and the conditions of each image.

An identity follows from the seed and its number alone, an image from the seed, identity, camera and
number; neither depends on what else is drawn. Lengths are in units of the body's height, and every
field is (B,) unless its comment says otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dakd.config import SyntheticConfig
from dakd.data.drawing.sampling import KeyedRandom, look_up
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
    backpack: Tensor  # bool: a backpack
    shoulder_bag: Tensor  # bool: a shoulder bag
    handbag: Tensor  # bool: a handbag
    wide: Tensor  # half width of the backpack
    high: Tensor  # half height of the backpack
    side: Tensor  # 1 carried on the left or -1 on the right


@dataclass(frozen=True)
class Identity:
    """What stays the same in every image of a person."""

    body: Physique
    hair: Hair
    top: Top
    bottom: Bottom
    bag: Bag


def identities(config: SyntheticConfig, pids: Sequence[int]) -> Identity:
    """Return the people with these identity numbers."""
    random = KeyedRandom(config.seed, [(1, int(pid)) for pid in pids])
    build = random.uniform(-1, 1)
    body = Physique(
        height=random.uniform(0.86, 1.0),
        build=build,
        shoulders=random.uniform(0.096, 0.114) + 0.008 * build,
        hips=random.uniform(0.076, 0.092) + 0.008 * build,
        legs=random.uniform(0.495, 0.53),
        head=random.uniform(0.046, 0.053),
        stride=random.uniform(0.28, 0.48),
        skin=random.uniform(0, 1),
    )
    k = config.material
    return Identity(body, _hair(random, k), _top(random, k), _bottom(random, k), _bag(random, k))


def _hair(random: KeyedRandom, material: float) -> Hair:
    style = random.choice([2, 5, 3, 3, 2, 2])  # cropped, short, bob, long, pony tail, bun
    colour = garment(random, HAIR, material)
    return Hair(
        colour=replace(colour, infrared=0.25 + 0.5 * colour.infrared),  # rarely black in infrared
        crown=torch.where(style == 0, random.uniform(0.0, 0.004), random.uniform(0.008, 0.018)),
        fall=look_up([0, 0, 0.085, 0.18, 0.15, -0.05], style) * random.uniform(0.85, 1.2),
        thick=look_up([0, 0, 0.05, 0.052, 0.02, 0.028], style),
        tailed=style > 1,
        cap=random.chance(0.14) & (style < 2),
    )


def _top(random: KeyedRandom, material: float) -> Top:
    sleeve = random.choice([4, 3, 1])  # long, short, none
    coat = random.chance(0.2) & (sleeve == 0)
    front = random.choice([6, 2, 2])  # closed, printed, open
    size = random.uniform(0.8, 1.2)
    return Top(
        cloth=garment(random, CLOTH, material, [6, 3, 1.5, 2, 1.5, 1, 2]),
        sleeves=look_up([0.93, 0.32, 0.06], sleeve) * random.uniform(0.9, 1.04),
        raglan=random.chance(0.2),
        hem=torch.where(coat, random.uniform(-0.22, -0.12), random.uniform(-0.035, 0.02)),
        flare=random.uniform(0.0, 0.014),
        printed=front == 1,
        open=front == 2,
        badge=torch.stack([0.04 * size, 0.03 * size, random.uniform(0.07, 0.10)], 1),
    )


def _bottom(random: KeyedRandom, material: float) -> Bottom:
    kind = random.choice([6, 2, 2])  # trousers, shorts, skirt
    return Bottom(
        cloth=garment(random, LEGS, material, [10, 0.6, 0.8, 1]),
        shoes=garment(random, CLOTH[:12], material),
        cover=look_up([0.97, 0.42, 0.0], kind) * random.uniform(0.9, 1.03),
        loose=random.uniform(0.0, 0.014),
        skirt=kind == 2,
        hem=random.uniform(0.14, 0.30),
        wide=random.uniform(0.105, 0.15),
    )


def _bag(random: KeyedRandom, material: float) -> Bag:
    kind = random.choice([4, 3, 2, 2])  # none, backpack, shoulder bag, handbag
    cloth = garment(random, CLOTH, material)
    return Bag(
        cloth=replace(cloth, thermal=0.15 + 0.3 * cloth.thermal),  # no body heat
        backpack=kind == 1,
        shoulder_bag=kind == 2,
        handbag=kind == 3,
        wide=random.uniform(0.06, 0.09),
        high=random.uniform(0.085, 0.125),
        side=random.table([1, 1], [1, -1]),
    )


@dataclass(frozen=True)
class Conditions:
    """What changes from image to image; lengths in frame units."""

    yaw: Tensor  # 0 faces the camera, pi / 2 walks to the right
    phase: Tensor  # of the gait, radians
    scale: Tensor
    x: Tensor
    ground: Tensor
    gain: Tensor  # of the light
    warmth: Tensor  # of the light's colour, -1..1
    sun: Tensor  # direction of the light, -1 left to 1 right
    blur: Tensor
    noise: Tensor
    offset: Tensor  # (B, 2), 0..1: which part of the noise field
    stand: Tensor  # 0..1: which part of the panorama
    hidden: Tensor  # bool: an obstacle in front of the person
    occluder: Tensor  # (B, 5): 1 upright or 0 low, x, half width, top, tone


def conditions_of(config: SyntheticConfig, keys: Sequence[tuple[int, int, int]]) -> Conditions:
    """Return the conditions of the images with these keys (pid, cam, number)."""
    random, j = KeyedRandom(config.seed, [(2, *map(int, key)) for key in keys]), config.jitter
    quarters = [0, math.pi / 2, -math.pi / 2, math.pi]  # front, right, left, back
    turned = random.table([3, 1.4, 1.4, 2.2], quarters)
    yaw = torch.where(random.chance(j), turned, 0.0) + random.uniform(-0.5, 0.5) * (0.1 + 0.9 * j)
    upright = random.chance(0.45)
    left = torch.where(random.chance(0.5), 1.0, -1.0)
    hidden = random.chance(config.occlusion)
    occluder = [
        upright.double(),
        0.5 + left * torch.where(upright, random.uniform(0.22, 0.42), random.uniform(0.0, 0.3)),
        torch.where(upright, random.uniform(0.05, 0.11), random.uniform(0.2, 0.4)),
        torch.where(upright, random.uniform(-0.2, 0.3), random.uniform(1.3, 1.62)),
        random.uniform(0.15, 0.75),
    ]
    return Conditions(
        yaw=yaw,
        phase=random.uniform(-math.pi, math.pi) * (0.04 + 0.96 * j),
        scale=1.74 * (1 + j * random.uniform(-0.14, 0.08)),
        x=0.5 + j * random.uniform(-0.1, 0.1),
        ground=1.90 + j * random.uniform(-0.09, 0.05),
        gain=1 + j * random.uniform(-0.4, 0.35),
        warmth=j * random.uniform(-1, 1),
        sun=j * random.uniform(-1, 1),
        blur=config.noise * random.uniform(0, 0.022),
        noise=config.noise * random.uniform(0.4, 1),
        offset=torch.stack([random.uniform(0, 1), random.uniform(0, 1)], 1),
        stand=random.uniform(0, 1),
        hidden=hidden,
        occluder=torch.stack(occluder, 1),
    )


def select(record: Any, rows: Tensor) -> Any:
    """Return `rows` of every field of an `Identity`, `Conditions` or a `Garment`."""
    parts = {f.name: getattr(record, f.name) for f in fields(record)}
    return type(record)(
        **{k: v[rows] if isinstance(v, Tensor) else select(v, rows) for k, v in parts.items()}
    )
