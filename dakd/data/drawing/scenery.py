"""Six cameras: background and obstacles around a person, and the response of the sensor."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dakd.data.drawing.canvas import Canvas, lift
from dakd.data.drawing.people import Conditions
from dakd.data.drawing.places import LENGTH, panorama
from dakd.data.drawing.wardrobe import Spectrum
from dakd.runtime import make_generator

NOISE = 512  # side of the noise field, in pixels of a 192 x 96 image


@dataclass(frozen=True)
class Camera:
    """A camera's background and sensor, in one of the roles of SYSU-MM01.

    Attributes:
        place: its background; cameras 2 and 3 share a room.
        infrared: it records near-infrared (or thermal) light.
        tint: gain of red, green and blue.
        haze: light added everywhere.
        vignette: light lost in the corners (visible), fall-off of the illuminator (infrared).
        light: loss at a body's rim, and light from the right (see `Canvas`).
    """

    place: str
    infrared: bool
    tint: tuple[float, float, float]
    haze: float
    vignette: float
    light: tuple[float, float]


CAMERAS = {
    1: Camera("hall", False, (1.14, 1.07, 0.95), 0.02, 0.22, (0.36, 0.10)),
    2: Camera("room", False, (0.98, 1.05, 1.12), 0.03, 0.25, (0.34, -0.12)),
    3: Camera("room", True, (0.95, 0.95, 0.95), 0.03, 0.85, (0.50, 0.0)),
    4: Camera("gate", False, (1.14, 1.12, 1.08), 0.06, 0.10, (0.30, 0.22)),
    5: Camera("garden", False, (1.06, 1.10, 1.00), 0.00, 0.15, (0.36, -0.18)),
    6: Camera("passage", True, (1.10, 1.10, 1.10), 0.01, 1.30, (0.55, 0.0)),
}


@lru_cache(maxsize=32)
def view(name: str, clutter: float, height: int, width: int) -> Tensor:
    """Return a panorama at the resolution of an image, (5, height, LENGTH * width).

    `clutter` 0 leaves the average colour of every row, 1 leaves all detail.
    """
    pixels = panorama(name)
    plain = pixels.mean(2, keepdim=True)
    pixels = plain + clutter**0.5 * (pixels - plain)
    return F.interpolate(pixels[None], (height, LENGTH * width), mode="area")[0]


@lru_cache(maxsize=8)
def noise_field(height: int, width: int) -> Tensor:
    """Return sensor noise (3, h, w) of unit strength: grain, blotches and a little colour."""
    random = make_generator(0)
    shared, chroma = (torch.randn(3, NOISE, NOISE, generator=random) for _ in range(2))
    blotch = F.interpolate(
        torch.randn(1, 1, NOISE // 4, NOISE // 4, generator=random), NOISE, mode="bicubic"
    )
    field = 0.8 * shared[:1] + 0.35 * chroma + 0.6 * blotch[0]
    size = (NOISE * height // 192, NOISE * width // 96)
    return F.interpolate(field[None], size, mode="area")[0]


def background(
    cam: int, spectrum: Spectrum, conditions: Conditions, clutter: float, height: int, width: int
) -> Tensor:
    """Return the backgrounds, (B, C, height, width) on the CPU."""
    place = view(CAMERAS[cam].place, clutter, height, width)
    bands = {"visible": slice(0, 3), "infrared": slice(3, 4), "thermal": slice(4, 5)}[spectrum]
    start = conditions.stand * (LENGTH - 1) * width
    first = start.long().clamp_max((LENGTH - 1) * width - 1)
    share = (start - first).float().reshape(-1, 1, 1, 1)
    crops = place[bands].unfold(2, width + 1, 1)[:, :, first]  # (C, H, B, W + 1)
    crops = crops.permute(2, 0, 1, 3)
    pixels = crops[..., :-1] + (crops[..., 1:] - crops[..., :-1]) * share
    return pixels * 0.45 if spectrum == "infrared" else pixels


def expose(pixels: Tensor, cam: int, spectrum: Spectrum, conditions: Conditions) -> Tensor:
    """Return the recorded images, (B, 3, H, W) uint8, of radiance (B, C, H, W)."""
    camera, device, (H, W) = CAMERAS[cam], pixels.device, pixels.shape[2:]
    gain, warm, sun, noise = (
        lift(v).to(device, torch.float32)
        for v in (conditions.gain, conditions.warmth, conditions.sun, conditions.noise)
    )
    x = ((torch.arange(W, device=device) + 0.5) / W - 0.5).reshape(1, 1, 1, W)
    y = ((torch.arange(H, device=device) + 0.5) / H - 0.5).reshape(1, 1, H, 1)
    tint = torch.tensor(camera.tint, device=device).reshape(1, 3, 1, 1)
    if spectrum == "visible":
        warm = warm * torch.tensor([0.08, 0.0, -0.08], device=device).reshape(1, 3, 1, 1)
        fall = 1 - 2 * camera.vignette * (x * x + y * y)
        pixels = pixels * (gain * (tint + warm)) * fall + camera.haze
        level = 0.042
    elif spectrum == "infrared":  # a lamp beside the lens, strongest in the middle
        aside = x - 0.25 * sun
        fall = 1 + 1.6 * camera.vignette * (aside * aside + (y + 0.12) * (y + 0.12))
        pixels = pixels * (1.35 * gain * tint[:, :1]) / fall + camera.haze
        level = 0.075
    else:
        pixels = pixels * (0.7 + 0.3 * gain)
        level = 0.035
    pixels = (pixels + _grain(pixels, conditions) * (level * noise)).clamp_(0, 1)
    return (pixels * 255).round_().to(torch.uint8).expand(-1, 3, -1, -1)


def _grain(pixels: Tensor, conditions: Conditions) -> Tensor:
    """Return each image's part of the noise field, of the shape of `pixels`."""
    C, H, W = pixels.shape[1:]
    field = noise_field(H, W).to(pixels.device)[:C]
    free = torch.tensor([field.shape[1] - H + 1, field.shape[2] - W + 1])
    first = (conditions.offset * free).long()  # (B, 2)
    return field.unfold(1, H, 1).unfold(2, W, 1)[:, first[:, 0], first[:, 1]].transpose(0, 1)


def obstruct(canvas: Canvas, conditions: Conditions, spectrum: Spectrum) -> None:
    """Paint an obstacle in front of the person: a post from top to bottom, or a low one."""
    upright, x, half, top, tone = conditions.occluder.unbind(1)
    middle, tall = 0.5 * (top + 2.3), 0.5 * (2.3 - top)
    corners = [(x - half, top), (x + half, top + 2 * tall)]
    window = canvas.window(corners, torch.zeros_like(x), conditions.hidden)
    if window is None:
        return
    shape = canvas.box(window, (x, middle), (half, tall), torch.minimum(0.06 + 0 * x, half * 0.8))
    if spectrum == "visible":
        green = (1 - upright)[:, None] * torch.tensor([-0.12, 0.02, -0.14], dtype=x.dtype)
        colour = (0.25 + 0.5 * tone[:, None] + green).clamp(0.05, 0.9)
    else:
        colour = (0.2 + 0.5 * (1 - tone) if spectrum == "infrared" else 0.24 + 0 * tone)[:, None]
    light = canvas.shade(shape) * (1 - 0.25 * (window.y - 1.0).clamp(0, 1))
    canvas.paint(shape, canvas.put(colour) * light, conditions.hidden, shadow=0.25)
