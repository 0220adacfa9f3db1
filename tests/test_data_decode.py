"""Every odd image becomes RGB in the documented way, or an error that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamis.data.decode import UnreadableImage, decode, inside, is_image_name


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixel(content: bytes) -> tuple:
    image = decode(content, "x")
    assert image.mode == "RGB"
    return tuple(np.asarray(image)[0, 0].tolist())


def palette(**options) -> bytes:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, "PNG", **options)


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (encoded(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG"), (1, 2, 3)),
        (encoded(Image.new("L", (2, 2), 7), "BMP"), (7, 7, 7)),
        (encoded(Image.new("1", (2, 2), 1), "PNG"), (255, 255, 255)),
        (palette(), (10, 20, 30)),
        (palette(transparency=1), (255, 255, 255)),
        (encoded(Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "TIFF"), (255, 255, 255)),
        (encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (encoded(Image.fromarray(np.full((2, 2), 0x1234, np.uint16)), "PNG"), (0x12, 0x12, 0x12)),
        (encoded(Image.fromarray(np.full((2, 2), 0xFFFF, np.uint16)), "TIFF"), (255, 255, 255)),
        (b"P5 1 1 65535\n" + struct.pack(">H", 0x8001), (0x80, 0x80, 0x80)),
        (encoded(Image.fromarray(np.full((2, 2), -5, np.int32)), "TIFF"), (0, 0, 0)),
        (encoded(Image.fromarray(np.full((2, 2), 1 << 20, np.int32)), "TIFF"), (255, 255, 255)),
        (encoded(Image.fromarray(np.full((2, 2), 99.9, np.float32)), "TIFF"), (99, 99, 99)),
        (encoded(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), (0, 0, 0)),
        (encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (200, 100, 0, 255)), "PNG"), (200, 100, 0)),
        (encoded(Image.new("LA", (2, 2), (9, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGB", (2, 2), (9, 9, 9)), "PNG", transparency=(9, 9, 9)), (255, 255, 255)),
    ],
)
def test_one_documented_conversion(content, want):
    assert pixel(content) == want


def test_an_animation_gives_its_first_picture():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    assert pixel(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    # Upright: red at the top left, 3 wide and 2 high. Each row undoes one EXIF orientation.
    upright = Image.new("RGB", (3, 2))
    upright.putpixel((0, 0), (255, 0, 0))
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_270],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(encoded(stored, "PNG", exif=exif), "x").tobytes() == upright.tobytes()


JPEG = encoded(Image.effect_noise((40, 40), 50).convert("RGB"), "JPEG")
PNG = encoded(Image.effect_noise((40, 40), 50).convert("RGB"), "PNG")


@pytest.mark.parametrize("content", [b"", b"hello", b"<svg/>", JPEG[:200], JPEG[: len(JPEG) // 2], PNG[:-30], PNG[:20]])
def test_damaged_files_are_named(content):
    with pytest.raises(UnreadableImage, match=r"image must be readable, got .* in 'train/a\\nb.jpg'; repair"):
        decode(content, "train/a\nb.jpg")


@given(st.integers(0, len(PNG) - 20), st.sampled_from([JPEG, PNG]))
@settings(max_examples=100, deadline=None)
def test_a_file_cut_anywhere_is_read_or_named(length, content):
    message = ""
    try:
        assert decode(content[:length], "x.jpg").size == (40, 40)
    except UnreadableImage as error:
        message = str(error)
    assert not message or ("'x.jpg'" in message and "\n" not in message)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableImage, match=r"'no.jpg'"):
        decode(tmp_path / "no.jpg", "no.jpg")


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = bytearray(encoded(Image.new("RGB", (1, 1)), "PNG"))
    bomb[16:29] = header
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with pytest.raises(UnreadableImage, match="got more than 178,956,970 pixels in"):
        decode(bytes(bomb), "bomb.png")


def test_postscript_is_never_run():
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(UnreadableImage, match="no known image format"):
        decode(program, "x.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a/b.JPEG", "c.webp", "d.tiff", "e e.png", "-f.bmp", "<b>.gif", "é.pgm"])
def test_image_names(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "a", ".jpg", ".hidden/a.jpg", "__MACOSX/a.jpg", "a.eps", "a.pdf", "jpg"])
def test_other_names(name):
    assert not is_image_name(name)


HOSTILE = [
    "../a.jpg",
    "a/../../b.jpg",
    "/etc/a.jpg",
    "C:\\a.jpg",
    "c:a.jpg",
    "\\\\host\\a.jpg",
    "a\\..\\b.jpg",
    "a\0.jpg",
    "",
    ".",
    "..",
    "//a/b.jpg",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_out_are_refused(name):
    with pytest.raises(ValueError, match=r"file name must lead to a file below its folder, got .* in list.csv"):
        inside(name, "in list.csv")


@pytest.mark.parametrize(("name", "clean"), [("./a//b.jpg", "a/b.jpg"), ("a..b.jpg", "a..b.jpg"), ("...", "...")])
def test_names_are_cleaned(name, clean):
    assert inside(name, "in list.csv") == clean
