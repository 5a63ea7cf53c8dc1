"""Visible training augmentation: whole batches at once, beside one PIL image at a time.

Both crop, flip, normalise, CutSwap and erase with the same settings. The plain way is what a
dataset's ``__getitem__`` does with torchvision transforms, without the cost of worker processes.
One thread each, as a worker has.
"""

import platform
import random
import time
from collections.abc import Callable

import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision import transforms

from dakd.augment import ERASING_FILL, IMAGENET_MEAN, IMAGENET_STD, visible_train

THREADS, B, PAD, ROUNDS = 1, 64, 10, 9


def cutswap_of_one(image: Tensor) -> Tensor:
    if random.random() >= 0.5:
        return image
    _, H, W = image.shape
    h, w = (int(random.uniform(0.3, 0.6) * size) for size in (H, W))
    top, left = random.randint(0, H - h), random.randint(0, W - w)
    image = image.clone()
    box = image[:, top : top + h, left : left + w]
    box[:] = box[random.randrange(3)].clone()
    return image


def one_by_one(H: int, W: int) -> Callable[[list[Image.Image]], Tensor]:
    stages = transforms.Compose(
        [
            transforms.Pad(PAD),
            transforms.RandomCrop((H, W)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            cutswap_of_one,
            transforms.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.3), ERASING_FILL),
        ]
    )
    return lambda pictures: torch.stack([stages(picture) for picture in pictures])


def seconds(function: Callable[[], Tensor], device: str = "cpu") -> float:
    """Return the shortest time of a call (others may share the machine), after one to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    torch.set_num_threads(THREADS)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{platform.machine()}, {THREADS} thread, {versions}, Pillow {PIL.__version__}")
    print(f"best of {ROUNDS} batches of {B}, images a second")
    ours = visible_train(pad=PAD)
    for H, W in ((384, 128), (64, 32)):
        pixels = torch.randint(0, 256, (B, 3, H, W), dtype=torch.uint8)
        pictures = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
        theirs = one_by_one(H, W)
        plain = seconds(lambda: theirs(pictures))  # noqa: B023 - called at once
        rows = [("one by one", plain), ("dakd, batch", seconds(lambda: ours(pixels)))]  # noqa: B023
        if torch.cuda.is_available():
            moved = pixels.cuda()
            name = f"dakd, {torch.cuda.get_device_name()}"
            rows.append((name, seconds(lambda: ours(moved), "cuda")))  # noqa: B023
        for name, took in rows:
            print(f"{H} x {W}  {name:24s} {B / took:10.0f}   {plain / took:6.2f} x")


if __name__ == "__main__":
    main()
