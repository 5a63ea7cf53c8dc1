"""One image file, decoded: upright, in 8-bit RGB."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_ORIENTATION = 0x0112  # tag of EXIF; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_PERCENTILES = (0.5, 99.5)  # become black and white where values are not 8-bit grey levels


class ImageError(ValueError):
    """An image file that cannot be decoded; the message names the file."""


def read_image(path: Path) -> Image.Image:
    """Return an image file's first frame in 8-bit RGB.

    * It is rotated and mirrored by its EXIF orientation.
    * Greyscale of more than 8 bits, integer or floating point, as thermal cameras store it, is
      scaled image by image: the 0.5th percentile of its values becomes 0, the 99.5th 255, and
      values outside are clipped. Where the two are equal, the minimum and the maximum are used
      instead; an image of one value becomes mid grey, 128. A TIFF whose white is zero is inverted.
    * Transparent pixels are blended with black.

    Raises:
        ImageError: the file is missing, truncated, not an image, or too large; it has colours (or
            grey with transparency) of more than 8 bits, of which Pillow would keep only the high
            byte, or signed 8-bit values; or it holds NaN or infinite values.
    """
    try:
        # Given a name, Pillow maps a TIFF into memory, and then garbles rotated ones.
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")  # reading a named pipe would block
        with open(path, "rb") as file:
            head = file.read(25)
            with Image.open(file) as image:
                _refuse(image, head)
                white_is_zero = _white_is_zero(image)
                image.load()
                return _to_rgb(_upright(image), white_is_zero)
    except ImageError as error:  # an intact file; the message says what to do
        raise ImageError(f"cannot read the image {path}: {error}") from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageError(
            f"cannot read the image {path}: {error}; replace the file from your copy of the dataset"
        ) from error


def _refuse(image: Image.Image, head: bytes) -> None:
    """Raise `ImageError` for files of which Pillow would warn, or that it would decode wrongly."""
    (width, height), most = image.size, Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > most:  # before Pillow decodes it
        raise ImageError(
            f"it has {width} x {height} pixels, and more than {most} may be a decompression bomb; "
            "cut out the person"
        )
    if _is_scaled(image):
        return
    if (bits := _depth(image, head)) > 8:
        raise ImageError(
            f"it has {bits} bits per channel, and only greyscale without transparency may have "
            "more than 8; save it with 8, or as greyscale"
        )
    if 2 in _tag(image, _SAMPLE_FORMAT, ()):
        raise ImageError("its 8-bit values are signed; save them unsigned, or with 16 bits")


def _is_scaled(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _depth(image: Image.Image, head: bytes) -> int:
    """Return the bits per channel of a file that starts with `head`; 8 if unknown."""
    if image.format == "PNG":
        return head[24]  # of IHDR
    if image.format == "SGI":
        return 8 * head[3]
    if image.format == "PPM":
        decoder, *_, options = image.tile[0]  # type: ignore[attr-defined]
        known = decoder.startswith("ppm") and isinstance(options, tuple)  # (mode, maxval)
        return options[1].bit_length() if known else 8
    return max(_tag(image, _BITS_PER_SAMPLE, (8,)))


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    return image.tag_v2.get(number, default) if isinstance(image, TiffImageFile) else default


def _white_is_zero(image: Image.Image) -> bool:
    return isinstance(image, TiffImageFile) and _tag(image, _PHOTOMETRIC, 0) == 0


def _upright(image: Image.Image) -> Image.Image:
    """Do the same as `ImageOps.exif_transpose`, which fails where it cannot write EXIF again."""
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, white_is_zero: bool) -> Image.Image:
    if _is_scaled(image):  # Pillow has already inverted images of at most 8 bits
        levels = _eight_bits(np.asarray(image))
        image = Image.fromarray(255 - levels if white_is_zero and np.ptp(levels) else levels)
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
    if low == high:  # almost all pixels have one value, as around a small warm object
        low, high = values.min(), values.max()
    if low == high:
        return np.full(values.shape, 128, np.uint8)
    return np.rint(255 * ((values - low) / (high - low)).clip(0, 1)).astype(np.uint8)
