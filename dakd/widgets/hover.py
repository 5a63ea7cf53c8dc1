"""A map whose points show their images, in HTML and CSS: it works without a kernel."""

import base64
import hashlib
import io
from html import escape

import numpy as np
from PIL import Image
from torch import Tensor

from dakd.figures.gap import point_colours
from dakd.figures.style import PALETTE
from dakd.figures.tiles import Images, to_uint8

MOST = 1000  # points; a thousand thumbnails are about half a megabyte
THUMB, COLUMNS = 96, 40  # largest height of a thumbnail in pixels, thumbnails per sprite row
SIDE, ZOOM = 440, 180  # CSS pixels: side of the map, height of the image next to it
NO_SHORTCUTS = "data-lm-suppress-shortcuts"  # JupyterLab then leaves arrow keys to the element

CSS = """
.dakd-map {position:relative; width:680px; color:var(--text); font:13px/1.35 sans-serif}
.dakd-map .plot {position:relative; width:var(--side); height:var(--side); margin:4px 0;
  border:1px solid var(--line); box-sizing:border-box}
.dakd-map input {appearance:none; position:absolute; width:9px; height:9px; margin:-4.5px;
  padding:0; border:0; border-radius:50%; background:var(--color); opacity:.75; cursor:pointer}
.dakd-map .ir {border-radius:0; clip-path:polygon(50% 0, 100% 100%, 0 100%)}
.dakd-map input:hover, .dakd-map input:checked, .dakd-map input:focus-visible {
  transform:scale(2.2); opacity:1; z-index:2; outline:none}
.dakd-map input:checked {background:var(--text)}
.dakd-map figure, .dakd-map .slot {position:absolute; left:calc(var(--side) + 20px); margin:0}
.dakd-map figure {display:none; top:calc(50% + 20px); width:200px; pointer-events:none}
.dakd-map figure::before {content:""; display:block; width:var(--w); height:var(--h);
  background:var(--all) calc(var(--x) * var(--w)) calc(var(--y) * var(--h)) / var(--size);
  image-rendering:pixelated}
.dakd-map input:hover + figure, .dakd-map input:checked + figure {display:block}
.dakd-map input:checked + figure {top:20px}
.dakd-map .slot {top:50%; color:var(--muted); white-space:nowrap}
.dakd-map .selected {top:0}
.dakd-map i {display:inline-block; width:9px; height:9px; margin:0 4px 0 12px; border-radius:50%;
  background:var(--color)}
"""


def hover_map(
    points: np.ndarray,
    *,
    infrared: np.ndarray,
    images: Images | Tensor,
    colouring: str = "modality",
    cams: np.ndarray | None = None,
    pids: np.ndarray | None = None,
    title: str = "",
    caption: str = "",
) -> str:
    """Return a map as HTML: hovering over a point shows its image, a click selects it.

    The arrow keys move the selection, person by person. The HTML has no script, so that
    ``IPython.display.HTML(hover_map(...))`` also works in a saved page.

    Args:
        points: (n, 2), at most `MOST`.
        infrared: True for infrared points, which are triangles, (n,) bool.
        images: (n, 3, H, W), uint8 or float in 0..1.
        colouring, cams, pids: as in `dakd.figures.modality_maps`.
        title, caption: texts above and below the map.

    Raises:
        ValueError: too many points, arrays of different lengths, or an unknown colouring.
    """
    xy, dark = np.asarray(points, dtype=float), np.asarray(infrared, dtype=bool)
    lengths = {len(part) for part in (xy, dark, images, cams, pids) if part is not None}
    if xy.ndim != 2 or xy.shape[1] != 2 or len(lengths) != 1:
        raise ValueError(f"points must be (n, 2) with n images, not {xy.shape}; lengths {lengths}")
    if not 0 < len(xy) <= MOST:
        raise ValueError(f"{len(xy)} points; a map with images holds 1 to {MOST}: draw a sample")
    colors, legend = point_colours(colouring, dark, cams, pids)
    names = _names(dark, cams, pids)
    spread = np.ptp(xy, axis=0)
    share = (xy - xy.min(axis=0)) / np.where(spread > 0, spread, 1)  # 0..1
    left, top = 3 + 94 * share[:, 0], 97 - 94 * share[:, 1]  # percent of the map
    order = np.arange(len(xy)) if pids is None else np.lexsort((dark, pids))
    variables = _css_variables(images)
    group = "map" + hashlib.sha256(xy.tobytes() + variables.encode()).hexdigest()[:12]
    dots = "".join(
        f'<input {NO_SHORTCUTS} type="radio" name="{group}" aria-label="{names[i]}" '
        f'class="{"ir" * int(dark[i])}" '
        f'style="left:{left[i]:.2f}%;top:{top[i]:.2f}%;--color:{colors[i]}">'
        f'<figure style="--x:{-(i % COLUMNS)};--y:{-(i // COLUMNS)}">{names[i]}</figure>\n'
        for i in order
    )
    keys = "".join(
        f'<i class="{"ir" * (text == "infrared")}" style="--color:{color}"></i>{escape(text)}'
        for text, color in legend.items()
    )
    return (
        f'<div class="dakd-map" style="{variables}">'
        f"<style>{CSS}</style>"
        f"<b>{escape(title)}</b>"
        f'<div class="plot" role="radiogroup" aria-label="{escape(title) or "map"}">'
        f'<div class="slot selected">selected: click, or arrow keys</div>'
        f'<div class="slot">hovered</div>\n{dots}</div>'
        f"<div>{escape(caption)}</div><div>{keys}</div></div>"
    )


def _names(infrared: np.ndarray, cams: np.ndarray | None, pids: np.ndarray | None) -> list[str]:
    """Return a description of each point, escaped for HTML."""
    words = [["infrared" if dark else "visible"] for dark in infrared]
    for word, values in (("camera", cams), ("person", pids)):
        if values is not None:
            words = [[f"{word} {value}", *rest] for value, rest in zip(values, words, strict=True)]
    return [escape(", ".join(each)) for each in words]


def _css_variables(images: Images | Tensor) -> str:
    """Return CSS variables: a sprite (all images as one JPEG), its dimensions, and colours."""
    height, width = images[0].shape[-2:]
    tall = max(8, min(height, THUMB) // 8 * 8)  # whole JPEG blocks: images do not bleed
    wide = max(8, round(width / height * tall / 8) * 8)
    rows = -(-len(images) // COLUMNS)
    sprite = Image.new("RGB", (COLUMNS * wide, rows * tall))
    for i, image in enumerate(images):
        small = Image.fromarray(to_uint8(image)).resize((wide, tall), Image.Resampling.BOX)
        sprite.paste(small, (i % COLUMNS * wide, i // COLUMNS * tall))
    buffer = io.BytesIO()
    sprite.save(buffer, format="jpeg", quality=80, subsampling=0)
    shown = ZOOM * width / height
    values = {
        "all": f"url(data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})",
        "size": f"{COLUMNS * shown:.2f}px {rows * ZOOM}px",
        "w": f"{shown:.2f}px",
        "h": f"{ZOOM}px",
        "side": f"{SIDE}px",
        "text": PALETTE["text"],
        "line": PALETTE["grid"],
        "muted": PALETTE["muted"],
    }
    return ";".join(f"--{name}:{value}" for name, value in values.items())
