"""A slow reference of the training augmentation: one image and one pixel at a time.

It lists the published stages of each stream itself, so that their order is tested too.
"""

import numpy as np

from dakd import augment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LUMINANCE = (0.2989, 0.5870, 0.1140)
FILL = (0.4914, 0.4822, 0.4465)

STAGES = {
    ("sysu", "visible"): "pad black, crop, flip, normalise, swap, erase",
    ("sysu", "infrared"): "pad black, crop, flip, normalise, erase, channel",
    ("sysu", "auxiliary"): "pad black, crop, flip, normalise, erase, exchange",
    ("regdb", "visible"): "flip, pad grey, crop, normalise, swap, erase",
    ("regdb", "infrared"): "flip, pad grey, crop, normalise, erase",
    ("regdb", "auxiliary"): "pad black, crop, flip, normalise, erase, exchange",
    ("llcm", "visible"): "pad black, greyscale, crop, flip, normalise, swap, erase",
    ("llcm", "infrared"): "pad black, greyscale, crop, flip, normalise, erase",
    ("llcm", "auxiliary"): "pad black, crop, flip, normalise, erase, exchange",
}


def places(box):
    """Every (y, x) of a rectangle."""
    top, left, height, width = (int(number) for number in box)
    return [(y, x) for y in range(top, top + height) for x in range(left, left + width)]


class Reference:
    """The stages of one image; `drawn` maps a class of `dakd.augment` to its draws."""

    def __init__(self, name, size, drawn, *, pad, dtype, variant):
        self.size, self.drawn, self.pad = size, drawn, pad
        self.dtype, self.variant = dtype, variant
        self.width = size[1] * 8 // 9 if name == "llcm" else size[1]

    def pad_with(self, image, grey):
        fill = grey if image.dtype == np.uint8 else np.float32(grey) / np.float32(255)
        rows, columns = image.shape[1:]
        out = np.full((3, rows + 2 * self.pad, columns + 2 * self.pad), fill, image.dtype)
        for y, x in places((0, 0, rows, columns)):
            out[:, y + self.pad, x + self.pad] = image[:, y, x]
        return out

    def pad_black(self, image):
        return self.pad_with(image, 0)

    def pad_grey(self, image):
        return self.pad_with(image, 127)

    def crop(self, image):
        top, left = (int(corner) for corner in self.drawn[augment.PadCrop])
        out = np.empty((3, self.size[0], self.width), image.dtype)
        for y, x in places((0, 0, *out.shape[1:])):
            out[:, y, x] = image[:, y + top, x + left]
        return out

    def flip(self, image):
        width = image.shape[2]
        mirrored = np.stack([image[:, :, width - 1 - x] for x in range(width)], 2)
        return mirrored if self.drawn[augment.Flip] else image

    def greyscale(self, image):
        if not self.drawn[augment.RandomGrayscale]:
            return image
        if image.dtype == np.uint8:
            red, green, blue = (int(2**16 * w + 0.5) * image.astype(int)[c] for c, w in self.bt601)
            grey = (red + green + blue + 2**15) // 2**16
        else:
            weights = [image.dtype.type(int(2**16 * w + 0.5) / 2**16) for _, w in self.bt601]
            grey = (weights[0] * image[0] + weights[1] * image[1]) + weights[2] * image[2]
        return np.stack([grey.astype(image.dtype)] * 3)

    bt601 = list(enumerate((0.299, 0.587, 0.114)))

    def normalise(self, image):
        channels = zip(image.astype(self.dtype), MEAN, STD, strict=True)
        bytes_ = image.dtype == np.uint8
        if self.dtype == np.float64:
            whole = 255 if bytes_ else 1
            return np.stack([(pixels / whole - mean) / std for pixels, mean, std in channels])
        scale = np.float32(255 if bytes_ else 1)
        return np.stack(
            [(p - scale * np.float32(mean)) / (scale * np.float32(s)) for p, mean, s in channels]
        )

    def swap(self, image):
        if augment.CutSwap not in self.drawn:
            return image
        active, channel, box = self.drawn[augment.CutSwap]
        out = image.copy()
        whole = 0, 0, *image.shape[1:]
        for y, x in places(box if self.variant == "paper" else whole) if active else []:
            out[:, y, x] = image[channel, y, x]
        return out

    def erase(self, image):
        active, box = self.drawn[augment.ChannelRandomErasing]
        out = image.copy()
        for y, x in places(box) if active else []:
            out[:, y, x] = np.array(FILL, self.dtype)
        return out

    def exchange(self, image):
        active, channel = self.drawn[augment.ChannelExchange]
        return np.stack([image[channel]] * 3) if active else image

    def channel(self, image):
        choice = int(self.drawn[augment.ChannelGray])
        weights = np.array(LUMINANCE, self.dtype)
        grey = (weights[0] * image[0] + weights[1] * image[1]) + weights[2] * image[2]
        return np.stack([[*image, grey][choice]] * 3) if choice < 4 else image


def of_image(draws, i):
    """Return the draws of image `i` from nested tuples of draws."""
    return draws[i].numpy() if hasattr(draws, "numpy") else [of_image(part, i) for part in draws]


def augmented(name, stream, stages, images, draws, *, pad, dtype=np.float32, variant="paper"):
    """The batch (B, 3, H, W) as a numpy array, after every published stage.

    `stages` are those that made the `draws`, in their order.
    """
    done = []
    names = {"pad black": "pad_black", "pad grey": "pad_grey"}
    for i in range(len(images)):
        image = images[i].numpy()
        drawn = {type(s): d for s, d in zip(stages, of_image(draws, i), strict=True)}
        reference = Reference(name, image.shape[1:], drawn, pad=pad, dtype=dtype, variant=variant)
        for stage in STAGES[name, stream].split(", "):
            image = getattr(reference, names.get(stage, stage))(image)
        done.append(image)
    return np.stack(done)
