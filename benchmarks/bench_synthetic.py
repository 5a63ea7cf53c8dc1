"""Speed of drawing the embedded benchmark: batches in tight windows, against a plain loop.

The plain loop draws the same shapes one image at a time, each over the whole image.
"""

import platform
import time
from unittest.mock import patch

import numpy as np
import torch

from dakd.config import SyntheticConfig
from dakd.data import synthetic
from dakd.data.drawing.canvas import Canvas, Window
from dakd.data.synthetic import load_synthetic

THREADS, ROUNDS = 2, 3


def whole_frame(canvas: Canvas, points, reach, shown=None) -> Window | None:
    if shown is not None and not bool(shown.any()):
        return None
    everything = slice(None)
    return Window(everything, everything, canvas._x, canvas._y)


def rate(height: int, width: int, images: int, plain: bool) -> float:
    """Return images per second in the best of a few rounds, as the machine may be shared."""
    config = SyntheticConfig(train_ids=max(4, -(-images // 16)))
    source = load_synthetic(config, height=height, width=width).train.source
    rows, best = np.arange(images), 0.0
    chunk = (1, 1) if plain else synthetic.CHUNK
    window = whole_frame if plain else Canvas.window
    with patch.object(synthetic, "CHUNK", chunk), patch.object(Canvas, "window", window):
        source.read(rows[:24])
        for _ in range(ROUNDS):
            start = time.perf_counter()
            source.read(rows)
            best = max(best, images / (time.perf_counter() - start))
    return best


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"{platform.machine()}, {THREADS} threads, torch {torch.__version__}")
    print(f"{'size':>9}  {'ours':>8}  {'plain':>8}  ratio")
    for height, width, images in ((192, 96, 192), (96, 48, 512), (64, 32, 1024)):
        ours = rate(height, width, images, plain=False)
        plain = rate(height, width, 24, plain=True)
        print(f"{height:>4} x {width:<3} {ours:7.0f}/s {plain:7.0f}/s  {ours / plain:5.1f}")


if __name__ == "__main__":
    main()
