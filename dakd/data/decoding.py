"""One image file, decoded: upright, in 8-bit RGB."""

from pathlib import Path

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # of EXIF: how the camera was held; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PERCENTILES = (0.5, 99.5)  # become black and white where values are no grey levels


class ImageError(ValueError):
    """An image file that cannot be decoded; the message names the file."""


def read_image(path: Path) -> Image.Image:
    """Return an image file's first frame in 8-bit RGB.

    * It is turned and mirrored as its EXIF orientation says.
    * Greyscale of more than 8 bits, integer or floating point, as thermal cameras store it, is
      scaled image by image: the 0.5th percentile of its values becomes 0, the 99.5th 255, and what
      lies outside is clipped. An image whose two percentiles are equal becomes mid grey, 128.
    * What is transparent lies on black.

    Raises:
        ImageError: the file is missing, truncated, no image, far too large to be one of a person,
            or holds NaN or infinite values.
    """
    try:
        # Given a name, Pillow maps a TIFF into memory and then scrambles one that lies on its side.
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")  # a named pipe would be waited for
        with open(path, "rb") as file, Image.open(file) as image:
            image.load()
            return _to_rgb(_upright(image))
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageError(
            f"cannot read the image {path}: {error}; replace the file from your copy of the dataset"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Do what `ImageOps.exif_transpose` does, which fails where it cannot write EXIF again."""
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Return grey levels, uint8, of any numbers; see `read_image`."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite values")
    low, high = np.percentile(values, _PERCENTILES)
    if low == high:
        return np.full(values.shape, 128, np.uint8)
    return np.rint(255 * ((values - low) / (high - low)).clip(0, 1)).astype(np.uint8)
