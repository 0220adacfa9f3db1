"""Broken, odd and hostile image files: named with a reason, or decoded in the one documented way."""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tamis.data.decode as decoding
from tamis.data import FileImages, PadCrop, Quarantine, ResizedCrop, UnreadableImage, open_images
from tamis.data.decode import Files, decode
from tamis.testing import make_bad_images


def noise(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    values = hashlib.shake_256(b"x").digest(3 * width * height)
    return Image.frombytes("RGB", (width, height), values).convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def state(root: Path) -> dict[str, tuple]:
    """Everything that can be seen of a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        link = str(path.readlink()) if path.is_symlink() else ""
        found[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns, link, content)
    return found


# row 15


def corpus(root: Path) -> dict[str, str]:
    """A class folder with bad images and two good ones; returns what the reasons must say, by key."""
    bad = make_bad_images(root / "cat")
    for name, kind in (("good.png", "PNG"), ("whole.jpg", "JPEG")):
        (root / "cat" / name).write_bytes(encoded(noise(), kind))
    return {f"cat/{name}": reason for name, reason in bad.items()}


@pytest.mark.fault(15, "every bad file is named with its reason, good ones are used, the user's files stay as they are")
@pytest.mark.parametrize("workers", [0, 2])
def test_every_bad_file_is_named(tmp_path, seen, workers):
    wanted = corpus(tmp_path)
    before = state(tmp_path)
    names = [*sorted(wanted), "cat/good.png", "cat/whole.jpg"]
    labels, quarantine = torch.zeros(len(names), dtype=torch.int64), Quarantine(len(names))
    columns = {"augmentation": ResizedCrop(8), "workers": workers, "quarantine": quarantine}
    images = FileImages(Files(tmp_path, names), labels, ("cat",), names, **columns)
    read = [batch.index for batch in images.batches(torch.arange(len(names)).split(4), epoch=0, seed=0, train=True)]
    assert torch.cat(read).tolist() == [len(wanted), len(wanted) + 1]
    assert list(quarantine.reasons) == sorted(wanted)
    wrong = {key: reason for key, reason in quarantine.reasons.items() if wanted[key] not in reason}
    assert not wrong
    assert all(reason and "\n" not in reason and len(reason) < 250 for reason in quarantine.reasons.values())
    assert len(wanted) >= 25
    assert state(tmp_path) == before
    seen(f"{len(wanted)} of {len(wanted)} named; contents, dates and modes equal", count=len(wanted))


def test_a_folder_of_bad_files_is_opened(tmp_path):
    wanted = corpus(tmp_path)
    before = state(tmp_path)
    samples = len(wanted) + 1  # the folder named as an image is none of them, the two good ones are
    images = open_images(tmp_path, max_bad=(samples - 2) / samples)
    assert list(images.keys) == ["cat/good.png", "cat/whole.jpg"]
    assert images.quarantine.reasons.keys() == wanted.keys() - {"cat/folder.jpg"}
    with pytest.raises(UnreadableImage, match=r"got .* in 'cat/.*--max-bad"):
        open_images(tmp_path)
    assert state(tmp_path) == before


def test_the_same_bad_files_every_time(tmp_path):
    contents = []
    for name in ("one", "two"):
        make_bad_images(tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir()) if p.is_file()})
    assert contents[0] == contents[1]


WHOLE = {
    "jpeg": encoded(noise(), "JPEG"),
    "jpeg of scans": encoded(noise(), "JPEG", progressive=True),
    "jpeg with restarts": encoded(noise(), "JPEG", restart_marker_blocks=1),
    "jpeg cmyk": encoded(noise(mode="CMYK"), "JPEG"),
    "large jpeg": encoded(noise(400, 300), "JPEG"),
    "png": encoded(noise(), "PNG"),
    "png that compresses": encoded(Image.linear_gradient("L"), "PNG"),
    "png with palette": encoded(noise().quantize(), "PNG"),
    "webp": encoded(noise(), "WEBP"),
    "webp lossless": encoded(noise(), "WEBP", lossless=True),
    "gif": encoded(noise(), "GIF"),
    "animated gif": encoded(noise(), "GIF", save_all=True, append_images=[Image.linear_gradient("L").resize((40, 30))]),
    "bmp": encoded(noise(), "BMP"),
    "tiff": encoded(noise(), "TIFF"),
    "tiff lzw": encoded(noise(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded(noise(), "TIFF", compression="tiff_deflate"),
    "jpeg 2000": encoded(noise(20, 24), "JPEG2000"),
    "tga": encoded(noise(), "TGA", rle=True),
    "ppm": encoded(noise(), "PPM"),
}


@pytest.mark.fault(15, "a file cut off anywhere gives the whole picture or its name, never a part of the picture")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_cut_file_is_whole_or_named(seen):
    whole = {name: decode(content, "x").tobytes() for name, content in WHOLE.items()}
    counts = {"refused": 0, "whole": 0}

    @given(st.sampled_from(sorted(WHOLE)), st.data())
    @settings(max_examples=200)
    def cut(name, data):
        length = data.draw(st.integers(0, len(WHOLE[name]) - 1))
        try:
            pixels = decode(WHOLE[name][:length], "x").tobytes()
        except UnreadableImage:
            counts["refused"] += 1
        else:
            assert pixels == whole[name]
            counts["whole"] += 1

    cut()
    assert min(counts.values()) > 0
    seen(f"{counts['refused']} refused, {counts['whole']} whole, 0 partly", count=sum(counts.values()))


@pytest.mark.fault(15, "JPEG and JPEG 2000 files cut off at any byte are refused")
@pytest.mark.parametrize("name", ["jpeg", "jpeg of scans", "jpeg with restarts", "jpeg cmyk", "jpeg 2000"])
def test_no_part_of_a_jpeg_is_taken_for_all_of_it(seen, name):
    content = WHOLE[name]
    for length in range(len(content)):
        with pytest.raises(UnreadableImage):
            decode(content[:length], "x")
    seen(f"{name} refused at every length", count=len(content))


@pytest.mark.fault(18, "a PNG with any bit changed is refused or gives the same pixels")
def test_a_changed_bit_in_a_png_is_found(seen):
    content = WHOLE["png that compresses"]
    want, refused = decode(content, "x").tobytes(), 0
    for bit in range(0, 8 * len(content), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert decode(bytes(damaged), "x").tobytes() == want
        except UnreadableImage:
            refused += 1
    tried = len(range(0, 8 * len(content), 5))
    assert refused > 0.9 * tried
    seen(f"{refused} of {tried} refused, the rest without effect", count=tried)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImage, match="no regular file"):
        decode(tmp_path / "x.jpg", "x.jpg")


def test_no_memory_is_no_fault_of_the_file(monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(decoding, "_rgb", fail)
    with pytest.raises(MemoryError, match=r"memory must suffice to decode 'x', got too little"):
        decode(WHOLE["png"], "x")


def test_too_many_open_files_are_no_fault_of_the_file(tmp_path):
    import resource

    (tmp_path / "x.png").write_bytes(WHOLE["png"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            decode(tmp_path / "x.png", "x.png")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# row 16


def oriented(kind: str, orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(noise(7, 5), kind, exif=exif, **options)


def sixteen(*shape: int) -> np.ndarray:
    return np.frombuffer(hashlib.shake_256(b"y").digest(2 * int(np.prod(shape))), np.uint16).reshape(shape)


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    """PIL cannot write these: 16 bits a channel, big-endian."""
    values = sixteen(5, 7, channels).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 7, 5, 16, colour_type, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def transparent() -> Image.Image:
    image = noise(7, 5).convert("RGBA")
    image.putalpha(noise(7, 5, "L"))
    return image


ODD = {
    "CMYK": encoded(noise(7, 5, "CMYK"), "TIFF"),
    "16 bit grey PNG": encoded(Image.fromarray(sixteen(5, 7)), "PNG"),
    "16 bit grey TIFF": encoded(Image.fromarray(sixteen(5, 7)), "TIFF"),
    "16 bit colour PNG": png_of_16_bits(2, 3),
    "16 bit colour PNG with alpha": png_of_16_bits(6, 4),
    "palette": encoded(noise(7, 5).quantize(16), "PNG"),
    "palette GIF": encoded(noise(7, 5).quantize(16), "GIF"),
    "palette with alpha": encoded(transparent().quantize(16), "PNG"),
    "RGBA": encoded(transparent(), "PNG"),
    "RGBA WebP": encoded(transparent(), "WEBP", lossless=True, exact=True),
    "grey": encoded(noise(7, 5, "L"), "PNG"),
    "grey with alpha": encoded(transparent().convert("LA"), "PNG"),
    "bilevel": encoded(noise(7, 5, "1"), "PNG"),
    "floating point": encoded(noise(7, 5, "F"), "TIFF"),
    "turned PNG": oriented("PNG", 6),
    "turned WebP": oriented("WEBP", 5, lossless=True),
    "turned TIFF": oriented("TIFF", 8),
    "one pixel": encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
    "20,000 x 10": encoded(noise(20_000, 10), "PNG"),
    "10 x 20,000": encoded(noise(10, 20_000), "BMP"),
}
GOLDEN = {
    "CMYK": "7x5 9ca99354afb4cdf2",
    "16 bit grey PNG": "7x5 02b85284c1946c91",
    "16 bit grey TIFF": "7x5 02b85284c1946c91",
    "16 bit colour PNG": "7x5 f6b24a2ba1f4ae8d",
    "16 bit colour PNG with alpha": "7x5 60ab2d8340936950",
    "palette": "7x5 2abb2e57d9b471d0",
    "palette GIF": "7x5 2abb2e57d9b471d0",
    "palette with alpha": "7x5 da930ff107b83b31",
    "RGBA": "7x5 603d25a3c1eca22e",
    "RGBA WebP": "7x5 603d25a3c1eca22e",
    "grey": "7x5 3eb1b91f03e61dcf",
    "grey with alpha": "7x5 d93e234f718c4c9a",
    "bilevel": "7x5 f2a103fa9aab8b88",
    "floating point": "7x5 313d96d62183fc63",
    "turned PNG": "5x7 b840bcfd420e09ab",
    "turned WebP": "5x7 46490b44d28d44b9",
    "turned TIFF": "5x7 b2e8db8ec590c043",
    "one pixel": "1x1 039058c6f2c0cb49",
    "20,000 x 10": "20000x10 20d0f38b065031c3",
    "10 x 20,000": "10x20000 20d0f38b065031c3",
}


def digest(image: Image.Image) -> str:
    return f"{image.width}x{image.height} {hashlib.sha256(image.tobytes()).hexdigest()[:16]}"


@pytest.mark.fault(16, "each odd kind of image is converted in one way, the same for training, evaluation and report")
@pytest.mark.parametrize("name", ODD)
def test_one_conversion_everywhere(tmp_path, seen, name):
    path = tmp_path / "x"
    path.write_bytes(ODD[name])
    image = decode(path, "x")
    assert digest(image) == digest(decode(ODD[name], "x")) == GOLDEN[name]
    plain = FileImages(Files(tmp_path, ["x"]), torch.tensor([0]), ("a",), ["x"], augmentation=PadCrop())
    plain = plain.with_scale((0, 0, 0), (1, 1, 1))
    crop = ResizedCrop(9, flip=False)
    cropped = plain.with_augmentation(crop)
    assert digest(plain.thumbnail(0)) == GOLDEN[name]
    for train in (True, False):
        assert digest(shown(plain, train)) == GOLDEN[name]
    assert shown(cropped, False).tobytes() == crop.evaluate(image).tobytes()
    held = plain.in_memory(side=20_000)
    assert held is not None
    assert digest(held.thumbnail(0)) == GOLDEN[name]
    seen("file, bytes, training, evaluation, memory and thumbnail have the recorded pixels")


def test_the_recorded_pixels_are_the_documented_ones():
    def close(name: str, want: np.ndarray) -> bool:
        return bool((np.abs(np.asarray(decode(ODD[name], name)).astype(int) - want) <= 1).all())

    picture, alpha = np.asarray(noise(7, 5)).astype(int), np.asarray(noise(7, 5, "L")).astype(int)[..., None]
    over_white = (picture * alpha + 255 * (255 - alpha)) / 255
    ink = np.asarray(noise(7, 5, "CMYK")).astype(int)
    assert close("CMYK", (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255)
    assert close("16 bit grey PNG", (sixteen(5, 7) >> 8)[..., None].repeat(3, 2))
    assert close("16 bit colour PNG", sixteen(5, 7, 3) >> 8)
    assert close("RGBA", over_white)
    assert close("grey", alpha.repeat(3, 2))
    assert close("turned PNG", np.rot90(picture, -1))
    assert close("turned WebP", picture.transpose(1, 0, 2))
    assert close("turned TIFF", np.rot90(picture))


def shown(images: FileImages, train: bool) -> Image.Image:
    """What a model would see, as a picture."""
    batch = next(images.batches([torch.tensor([0])], epoch=0, seed=0, train=train))
    return Image.fromarray((batch.inputs[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


# row 17


def bomb_png() -> bytes:
    """A true PNG of 30,000 x 30,000 pixels of one bit, in some 110 kB, made row by row."""
    packer, row = zlib.compressobj(9), bytes(1 + 30_000 // 8)
    rows = b"".join(packer.compress(row) for _ in range(30_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + rows, b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def lying_jpeg() -> bytes:
    content = bytearray(encoded(noise(), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def lying_tiff() -> bytes:
    content = encoded(noise(), "TIFF")
    for tag, length in ((256, 40), (257, 30)):
        for kind, size in ((3, "H"), (4, "I")):
            old, new = struct.pack(f"<HHI{size}", tag, kind, 1, length), struct.pack("<HHII", tag, 4, 1, 60_000)
            content = content.replace(old.ljust(12, b"\0"), new)
    return content


def lying_gif(screen: int, frame: int) -> bytes:
    content = bytearray(encoded(noise(), "GIF"))
    content[6:10] = struct.pack("<HH", screen, screen)
    place = content.index(b",\0\0\0\0" + struct.pack("<HH", 40, 30))
    content[place + 5 : place + 9] = struct.pack("<HH", frame, frame)
    return bytes(content)


PROBE = """
import importlib.util, json, pathlib, sys
from PIL import Image
Image.MAX_IMAGE_PIXELS = json.loads(sys.argv[2])
spec = importlib.util.spec_from_file_location("decode", sys.argv[1])
decode = importlib.util.module_from_spec(spec)
sys.modules["decode"] = decode
spec.loader.exec_module(decode)
reasons = {}
for path in map(pathlib.Path, sys.argv[3:]):
    try:
        decode.decode(path, path.name)
    except decode.UnreadableImage as error:
        reasons[path.name] = error.reason
status = pathlib.Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps([peak / 1024, Image.MAX_IMAGE_PIXELS, reasons]))
"""


@pytest.mark.fault(17, "an image of too many pixels is refused by its header: the process stays below 300 MB")
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc to tell the peak memory")
@pytest.mark.parametrize("limit_of_pil", [89_478_485, None])
def test_bombs_are_refused_by_their_headers(tmp_path, seen, limit_of_pil):
    bombs = {
        "true.png": bomb_png(),
        "lying.jpg": lying_jpeg(),
        "lying.tif": lying_tiff(),
        "screen.gif": lying_gif(65_000, 40),
        "frame.gif": lying_gif(40, 65_000),
    }
    assert len(bombs["true.png"]) < 120_000
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-W", "error", "-c", PROBE, decoding.__file__, json.dumps(limit_of_pil)]
    command += [str(tmp_path / name) for name in bombs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, limit, reasons = json.loads(done.stdout)
    assert reasons == dict.fromkeys(bombs, "more than 178,956,970 pixels")
    assert peak < 300
    assert limit == limit_of_pil  # nobody else's PIL is changed
    seen(f"{len(bombs)} of {len(bombs)} refused, peak {peak:.0f} MB", count=len(bombs))


@pytest.mark.fault(16, "evaluation scales the middle of a long strip, not the whole of it to gigabytes")
@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_long_strips_take_little_memory(monkeypatch, seen, size):
    scaled, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *args: scaled.append(args[1]) or resize(*args))
    image = Image.new("RGB", size, (9, 8, 7))
    assert ResizedCrop(32).evaluate(image).tobytes() == bytes((9, 8, 7)) * 32 * 32
    assert [sorted(each) for each in scaled] == [[36, 36 * 64]]
    seen(f"{size[0]} x {size[1]} pixels scaled to {scaled[0][0]} x {scaled[0][1]} on the way to 32 x 32")
