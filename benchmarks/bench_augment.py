"""Time of training augmentation: whole batches, compared with one PIL image at a time.

Both crop, flip, normalise and change colours and rectangles with the same settings. The second is
what a dataset's ``__getitem__`` does with torchvision's transforms, followed by `torch.stack` for
the batch; the cost of worker processes is left out.

Times are CPU time of this process on one thread, so that other processes count little.
"""

import os
import platform
import random
import time
from collections.abc import Callable
from functools import partial

import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision import transforms

from dakd.augment import (
    ERASING_FILL,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Pipeline,
    auxiliary_train,
    infrared_train,
    visible_train,
)

THREADS, PAD, ROUNDS = 1, 10, 9
BATCHES = (64, 384, 128), (32, 384, 128), (64, 64, 32)  # a step has 32 of each modality
STREAMS = {"visible": visible_train, "infrared": infrared_train, "auxiliary": auxiliary_train}


def cutswap(image: Tensor) -> Tensor:
    if random.random() >= 0.5:
        return image
    _, H, W = image.shape
    h, w = (int(random.uniform(0.3, 0.6) * size) for size in (H, W))
    top, left = random.randint(0, H - h), random.randint(0, W - w)
    box = image[:, top : top + h, left : left + w]
    box[:] = box[random.randrange(3)].clone()
    return image


def exchange(image: Tensor) -> Tensor:
    return image[random.randrange(3)].expand_as(image)


def gray(image: Tensor) -> Tensor:
    choice = random.randrange(4)
    if choice < 3:
        return image[choice].expand_as(image)
    if random.random() < 0.5:
        return image
    red, green, blue = image
    return (0.2989 * red + 0.5870 * green + 0.1140 * blue).expand_as(image)


def one_by_one(stream: str, H: int, W: int) -> Callable[[list[Image.Image]], Tensor]:
    """Return a function from a list of PIL images to a batch, by torchvision's transforms."""
    erase = transforms.RandomErasing(0.5, (0.02, 0.4), (0.3, 1 / 0.3), ERASING_FILL, inplace=True)
    last = {"visible": [cutswap, erase], "infrared": [erase, gray], "auxiliary": [erase, exchange]}
    stages = transforms.Compose(
        [
            transforms.Pad(PAD),
            transforms.RandomCrop((H, W)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD, inplace=True),
            *last[stream],
        ]
    )
    return lambda images: torch.stack([stages(image) for image in images])


def milliseconds(functions: list[Callable[[], Tensor]]) -> list[float]:
    """Return the shortest time of each function; they take turns, after one round to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS + 1):
        for function, took in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            took.append(1000 * (time.process_time() - start))
    return [min(took[1:]) for took in times]


def milliseconds_on_gpu(augment: Pipeline, pixels: Tensor) -> float:
    """Return the shortest time from call to result for a batch on the GPU."""
    times = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        augment(pixels)
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return min(times[1:])


def main() -> None:
    torch.set_num_threads(THREADS)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    cores = f"{os.cpu_count()} cores ({torch.backends.cpu.get_cpu_capability()})"
    print(f"{platform.machine()}, {cores}, {THREADS} thread, {versions}, Pillow {PIL.__version__}")
    print(f"milliseconds of CPU time per batch, best of {ROUNDS}")
    print(f"{'':25s}{'one by one':>11s}{'batch':>12s}")
    for B, H, W in BATCHES:
        pixels = torch.randint(0, 256, (B, 3, H, W), dtype=torch.uint8)
        images = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
        for stream, make in STREAMS.items():
            ours, theirs = make(pad=PAD), one_by_one(stream, H, W)
            plain, batch = milliseconds([partial(theirs, images), partial(ours, pixels)])
            ratio = f"({plain / batch:.1f} x)"
            print(f"{f'{B} x {H} x {W}':15s}{stream:10s}{plain:11.1f}{batch:12.1f} {ratio}")
            if torch.cuda.is_available():
                took = milliseconds_on_gpu(ours, pixels.cuda())
                print(f"{'':25s}{took:11.2f} from call to result on {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
