"""Training augmentation as a book would write it: one image, one pixel at a time, in float32."""

import numpy as np

from dakd import augment

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
RED, GREEN, BLUE = np.float32([0.2989, 0.5870, 0.1140])
BYTE = np.float32(255)


def pad_crop(stage, image, drawn):
    top, left = (int(corner) - stage.pad for corner in drawn)
    _, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + top < height and 0 <= x + left < width:
                out[:, y, x] = image[:, y + top, x + left]
    return out


def flip(stage, image, drawn):
    width = image.shape[2]
    return np.stack([image[:, :, width - 1 - x] for x in range(width)], 2) if drawn else image


def normalise(stage, image, drawn):
    scale = BYTE if image.dtype == np.uint8 else np.float32(1)
    channels = zip(image.astype(np.float32), MEAN, STD, strict=True)
    return np.stack([(pixels - scale * mean) / (scale * std) for pixels, mean, std in channels])


def places(box, image):
    """Every (y, x) of one image's rectangle."""
    top, left, height, width = (int(number) for number in box)
    return [(y, x) for y in range(top, top + height) for x in range(left, left + width)]


def cutswap(stage, image, drawn):
    active, channel, box = drawn
    whole = 0, 0, *image.shape[1:]
    out = image.copy()
    for y, x in places(box if stage.variant == "paper" else whole, image) if active else []:
        out[:, y, x] = image[channel, y, x]
    return out


def erase(stage, image, drawn):
    active, box = drawn
    out = image.copy()
    for y, x in places(box, image) if active else []:
        out[:, y, x] = np.float32(stage.fill)
    return out


def exchange(stage, image, drawn):
    active, channel = drawn
    return np.stack([image[channel]] * 3) if active else image


def gray(stage, image, drawn):
    red, green, blue = image
    grey = (RED * red + GREEN * green) + BLUE * blue
    return np.stack([[red, green, blue, grey][int(drawn)]] * 3) if drawn < 4 else image


WAYS = {
    augment.PadCrop: pad_crop,
    augment.Flip: flip,
    augment.Normalise: normalise,
    augment.CutSwap: cutswap,
    augment.ChannelRandomErasing: erase,
    augment.ChannelExchange: exchange,
    augment.ChannelGray: gray,
}


def of_image(draws, i):
    """One image's part of any nesting of draws."""
    return draws[i].numpy() if hasattr(draws, "numpy") else [of_image(part, i) for part in draws]


def augmented(pipeline, images, draws):
    """The batch (B, 3, H, W) as a numpy array, after every stage."""
    done = []
    for i in range(len(images)):
        image = images[i].numpy()
        for stage, drawn in zip(pipeline.stages, of_image(draws, i), strict=True):
            image = WAYS[type(stage)](stage, image, drawn)
        done.append(image)
    return np.stack(done)
