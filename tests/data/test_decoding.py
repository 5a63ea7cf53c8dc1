"""What a file's pixels become in RGB: turned images, thermal counts, transparency, damage."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from dakd.data import ImageError, ImageSet, Record
from dakd.data.decoding import read_image
from dakd.data.records import FileSource

NOISE = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
ORIENTATION = 0x112
COUNTS = 7000 + np.random.default_rng(1).permutation(2000).reshape(50, 40)  # each value once


def decoded(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize("channels", ["colour", "grey"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "lzw.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path, suffix, orientation, channels):
    path, pixels = tmp_path / f"a.{suffix}", NOISE if channels == "colour" else NOISE[..., 0]
    options = {"compression": "tiff_lzw"} if suffix == "lzw.tif" else {}
    Image.fromarray(pixels).save(path, exif=exif(1), **options)
    with Image.open(path) as image:
        upright = image.convert("RGB")
    upright.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(upright))
    Image.fromarray(pixels).save(path, exif=exif(orientation), **options)
    assert np.array_equal(decoded(path), expected)
    assert expected.shape[:2] == ((8, 12) if 5 <= orientation <= 8 else (12, 8))


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_without_a_meaning(tmp_path, orientation):
    Image.fromarray(NOISE).save(tmp_path / "a.png", exif=exif(orientation))
    assert np.array_equal(decoded(tmp_path / "a.png"), NOISE)


def test_a_quarter_turn_by_hand(tmp_path):
    Image.fromarray(np.array([[1, 2], [3, 4], [5, 6]], np.uint8)).save(
        tmp_path / "a.png", exif=exif(6)
    )
    assert decoded(tmp_path / "a.png")[..., 0].tolist() == [[5, 3, 1], [6, 4, 2]]


def test_exif_that_cannot_be_written_again_is_enough_to_turn(tmp_path):
    tags = exif(6)
    tags[0x132] = "2020"
    raw = tags.tobytes().replace(b"\x01\x32\x00\x02", b"\x01\x1a\x00\x02")  # a text as resolution
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", exif=raw)
    assert decoded(tmp_path / "a.jpg").shape == (8, 12, 3)
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(TypeError):
        ImageOps.exif_transpose(image)


def scaled(counts):
    """The rule for one channel, value by value."""
    ordered = sorted(counts.flatten().tolist())

    def percentile(share):
        place = share / 100 * (len(ordered) - 1)
        below = ordered[int(place)]
        return below + (place % 1) * (ordered[int(place) + 1] - below)

    low, high = percentile(0.5), percentile(99.5)
    levels = [
        [round(255 * min(1, max(0, (v - low) / (high - low)))) for v in row] for row in counts
    ]
    return np.array(levels)


THERMAL = {
    "I;16 png": ("png", np.uint16),
    "I;16 tif": ("tif", np.uint16),
    "I;16B tif": ("tif", ">u2"),
    "I tif": ("tif", np.int32),
    "F tif": ("tif", np.float32),
}


@pytest.mark.parametrize("kind", THERMAL)
def test_thermal_counts_become_grey_levels(tmp_path, kind):
    suffix, dtype = THERMAL[kind]
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COUNTS.astype(dtype)).save(path)
    with Image.open(path) as image:
        assert image.mode == kind.split()[0]
    levels = decoded(path)
    assert (levels == levels[..., :1]).all()
    assert np.array_equal(levels[..., 0], scaled(COUNTS))
    assert len(np.unique(levels)) == 256
    assert (levels == 0).sum() == (levels == 255).sum() > 0
    Image.fromarray(COUNTS.astype(dtype)).save(path, exif=exif(6))
    assert np.array_equal(decoded(path)[..., 0], np.rot90(scaled(COUNTS), -1))


def test_a_dead_and_a_hot_pixel_hide_nothing(tmp_path):
    counts = COUNTS.astype(np.uint16)
    counts[0, :2] = 0, 65535
    Image.fromarray(counts).save(tmp_path / "a.png")
    assert np.abs(decoded(tmp_path / "a.png")[1:, :, 0] - scaled(COUNTS)[1:]).max() <= 1


def test_eight_bits_stay_what_they_are(tmp_path):
    grey = NOISE[..., 0] // 4 + 10
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(decoded(tmp_path / "a.png"), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("value", [0, 7000, 65535])
def test_a_flat_image_is_mid_grey(tmp_path, value):
    Image.fromarray(np.full((6, 4), value, np.uint16)).save(tmp_path / "a.png")
    assert np.unique(decoded(tmp_path / "a.png")).tolist() == [128]


@pytest.mark.parametrize("warm", [7003, 6990])
def test_a_small_warm_or_cold_object_is_seen(tmp_path, warm):
    counts = np.full((50, 40), 7000, np.uint16)
    counts[3:5, 7:10] = warm  # 6 of 2000 pixels, fewer than one in 200
    counts[20, 20] = 7001
    Image.fromarray(counts).save(tmp_path / "a.png")
    levels = decoded(tmp_path / "a.png")[..., 0]
    expected = [0, 85, 255] if warm > 7000 else [0, 232, 255]  # 1 / 3 and 10 / 11 of 255
    assert np.unique(levels).tolist() == expected
    assert (levels[3:5, 7:10] == (255 if warm > 7000 else 0)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path, dtype):
    counts = (np.arange(256).reshape(16, 16) if dtype == np.uint8 else COUNTS).astype(dtype)
    for photometric in (0, 1):
        with open(tmp_path / f"{photometric}.tif", "wb") as file:
            file.write(tiff(counts, photometric=photometric))
    inverted, plain = decoded(tmp_path / "0.tif"), decoded(tmp_path / "1.tif")
    assert np.array_equal(inverted, 255 - plain)
    assert len(np.unique(plain)) == 256
    (tmp_path / "flat.tif").write_bytes(tiff(np.full_like(counts, 9), photometric=0))
    flat = 255 - 9 if dtype == np.uint8 else 128
    assert np.unique(decoded(tmp_path / "flat.tif")).tolist() == [flat]


KINDS = {"u": 1, "i": 2, "f": 3}  # of numpy, and the SampleFormat of TIFF


def tiff(pixels, photometric):
    """An uncompressed little-endian TIFF of (H, W) or (H, W, C) pixels."""
    height, width, *channels = pixels.shape
    (count,) = channels or [1]
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits = 8 * pixels.itemsize
    after = 8 + 2 + 12 * 10 + 4  # header and directory; then bits and format of each channel
    many = lambda value, place: value if count == 1 else place  # noqa: E731
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, count, many(bits, after)),
        (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, after + 4 * count),
        (277, 3, 1, count), (278, 4, 1, height), (279, 4, 1, len(content)),
        (339, 3, count, many(KINDS[pixels.dtype.kind], after + 2 * count)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    each = struct.pack(f"<{2 * count}H", *[bits] * count, *[KINDS[pixels.dtype.kind]] * count)
    return b"II*\0" + struct.pack("<IH", 8, 10) + directory + bytes(4) + each + content


def png(pixels, color):
    """A PNG of (H, W, C) pixels."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def ppm(pixels, most, plain=False):
    height, width, _ = pixels.shape
    head = f"P{3 if plain else 6}\n# a comment\n{width} {height}\n{most}\n".encode()
    if plain:
        return head + " ".join(map(str, pixels.flatten())).encode()
    return head + pixels.astype(">u2" if most > 255 else "u1").tobytes()


def sgi(pixels):
    height, width, count = pixels.shape
    head = struct.pack(">HBBHHHH", 474, 0, pixels.itemsize, 3, width, height, count)
    planes = pixels[::-1].transpose(2, 0, 1)
    return head.ljust(512, b"\0") + planes.astype(planes.dtype.newbyteorder(">")).tobytes()


ALPHA = np.concatenate([NOISE, np.full_like(NOISE[..., :1], 255)], -1)
COLOURS = {
    "RGB png": (NOISE, lambda p: png(p, 2)),
    "RGBA png": (ALPHA, lambda p: png(p, 6)),
    "LA png": (ALPHA[..., 2:], lambda p: png(p, 4)),
    "ppm": (NOISE, lambda p: ppm(p, np.iinfo(p.dtype).max)),
    "plain ppm": (NOISE, lambda p: ppm(p, np.iinfo(p.dtype).max, plain=True)),
    "tif": (NOISE, lambda p: tiff(p, photometric=2)),
    "sgi": (NOISE, sgi),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_colours_of_sixteen_bits_are_refused_and_those_of_eight_are_not(tmp_path, kind):
    pixels, write = COLOURS[kind]
    path = tmp_path / f"a.{kind.split()[-1]}"
    path.write_bytes(write(pixels))
    expected = pixels[..., :1] if kind == "LA png" else pixels[..., :3]
    assert np.array_equal(decoded(path), np.broadcast_to(expected, NOISE.shape))
    path.write_bytes(write(pixels.astype(np.uint16) * 257))
    with pytest.raises(
        ImageError, match=r"a\.\w+: it has 16 bits per channel.*; save it with 8, or a"
    ):
        read_image(path)


@pytest.mark.parametrize(("most", "bits"), [(100, 7), (1023, 10)])
def test_the_greatest_value_of_a_ppm_says_its_depth(tmp_path, most, bits):
    (tmp_path / "a.ppm").write_bytes(ppm(NOISE.astype(np.uint16) % 101, most))
    if bits <= 8:
        assert decoded(tmp_path / "a.ppm").shape == NOISE.shape
    else:
        with pytest.raises(ImageError, match=f"it has {bits} bits per channel"):
            read_image(tmp_path / "a.ppm")


@pytest.mark.parametrize("most", [1023, 65535])
def test_grey_of_a_pgm_is_scaled(tmp_path, most):
    grey = (NOISE[..., :1] * 4).astype(np.uint16)
    (tmp_path / "a.pgm").write_bytes(ppm(grey, most).replace(b"P6", b"P5", 1))
    assert len(np.unique(decoded(tmp_path / "a.pgm"))) > 50


def test_signed_values_of_eight_bits_are_refused_and_of_sixteen_scaled(tmp_path):
    signed = np.arange(-60, 60).reshape(12, 10)
    (tmp_path / "a.tif").write_bytes(tiff(signed.astype(np.int8), photometric=1))
    with pytest.raises(ImageError, match=r"a\.tif: its 8-bit values are signed; save them unsign"):
        read_image(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(tiff(signed.astype(np.int16), photometric=1))
    assert np.array_equal(decoded(tmp_path / "a.tif")[..., 0], scaled(signed))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_pixels_than_pillow_finds_safe_are_an_error(tmp_path, monkeypatch):
    Image.fromarray(NOISE).save(tmp_path / "a.png")  # of 96 pixels; Pillow refuses twice its limit
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 95)
    with pytest.raises(ImageError, match=r"a\.png: it has 8 x 12 pixels, and more than 95 may"):
        read_image(tmp_path / "a.png")
    for most in (96, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert np.array_equal(decoded(tmp_path / "a.png"), NOISE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    counts = COUNTS.astype(np.float32)
    counts[3, 3] = value
    Image.fromarray(counts).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif: it holds NaN or infinite values; replace"):
        read_image(tmp_path / "a.tif")


def transparent(mode):
    """Two pixels: a light one that is opaque, and one of which nothing, or half, is seen."""
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([200, 100, 50, 90, 90, 90])
        image.putpixel((1, 0), 1)
        return image, {"transparency": bytes([255, 0])}, [0, 0, 0]
    if mode == "RGB":
        image = Image.new("RGB", (2, 1), (200, 100, 50))
        image.putpixel((1, 0), (90, 91, 92))
        return image, {"transparency": (90, 91, 92)}, [0, 0, 0]
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (100, 100, 100, 51))
    return image.convert(mode), {}, [20, 20, 20]


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "LA"])
def test_what_is_transparent_lies_on_black(tmp_path, mode):
    image, options, second = transparent(mode)
    image.save(tmp_path / "a.png", **options)
    first = [124] * 3 if mode == "LA" else [200, 100, 50]
    assert decoded(tmp_path / "a.png")[0].tolist() == [first, second]


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_frames_the_first(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 6), (level, level, level)) for level in (10, 200, 90)]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    assert np.unique(decoded(tmp_path / f"a.{suffix}")).tolist() == [10]


def test_a_bitmap_said_to_be_gigantic_is_named(tmp_path):
    path = tmp_path / "0001 é.bmp"
    Image.fromarray(NOISE).save(path)
    content = bytearray(path.read_bytes())
    content[20] = content[24] = 0x40  # of width and height
    path.write_bytes(content)
    images = ImageSet([Record(1, 1, "visible", 1, path)], FileSource([path], height=4, width=2))
    with pytest.raises(ImageError, match=r"0001 é\.bmp: .*decompression bomb.*; replace the file"):
        images.images()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["bmp", "png", "jpg", "tif", "gif"])
def test_a_damaged_file_gives_an_image_or_an_image_error(tmp_path, suffix):
    path, rng, refused = tmp_path / f"a.{suffix}", np.random.default_rng(2), 0
    Image.fromarray(NOISE).save(path)
    whole = path.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 120), 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            read_image(path)
        except ImageError:
            refused += 1
    assert refused > 10


def test_any_error_of_pillow_names_the_file(tmp_path, monkeypatch):
    def fails(file):
        raise ValueError("bad height")

    Image.fromarray(NOISE).save(tmp_path / "a.bmp")
    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(ImageError, match=r"cannot read the image .*a\.bmp: bad height; replace"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="it is not a regular file"):
        read_image(tmp_path / "pipe.png")
