"""Generated crowds to try counting on: perspective, occlusion, textured ground, things that look like heads.

Each picture is a pure function of a seed and a number. People are drawn at twice the size, which is
halved: that smooths their edges.
"""

import csv
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from tamis.moment import seed_of

FEWEST, MOST = 20, 300
_TEST = 1 << 32  # number of the first picture of the test part: the parts never share one
_TRIES = 6  # times that a head which is hidden behind another one gets a new place
_SKIN = np.array([(236, 200, 176), (214, 166, 134), (176, 124, 92), (128, 84, 58), (86, 56, 42)])
_HAIR = np.array([(28, 24, 22), (58, 40, 28), (96, 66, 40), (150, 116, 70), (128, 124, 120), (196, 190, 184)])


class _Scene(NamedTuple):
    """Where the ground begins, and how large heads are on it: radius in pixels at the horizon and at the bottom."""

    size: int
    horizon: float
    far: float
    near: float

    def radius(self, y: np.ndarray) -> np.ndarray:
        return self.far + (self.near - self.far) * (y - self.horizon) / (self.size - self.horizon)


def synthetic_crowd(seed: int, index: int, size: int = 256) -> tuple[Image.Image, np.ndarray]:
    """Draw a crowd of up to 300 heads, half of them in clusters.

    Args:
        seed: of the data set.
        index: of the picture in it.
        size: side of the picture in pixels, at least 64.

    Returns:
        The picture, RGB, and the centres of the heads, float64 (k, 2), x and y in pixels from the upper left corner,
        from far to near. Every head can be seen at least in part.

    Raises:
        ValueError: size is below 64.
    """
    if size < 64:
        raise ValueError(f"size must be at least 64 pixels, got {size!r}")
    random = np.random.default_rng(seed_of(seed, index, "synthetic crowd"))
    scale = size / 256
    horizon = random.uniform(0.05, 0.3) * size
    scene = _Scene(size, horizon, random.uniform(1.8, 2.6) * scale, random.uniform(5.0, 8.0) * scale)
    heads = _places(random, scene, int(random.integers(FEWEST, MOST + 1)))
    others = _ground_places(random, scene, int(random.integers(8, 36)))
    others = others[~_covers(scene, heads, others, 2.2).any(0)]
    picture = _ground(random, scene, np.concatenate([heads, others]))
    picture = picture.resize((2 * size, 2 * size), Image.Resampling.NEAREST)
    _draw_all(random, scene, picture, heads, others)
    return _photographed(random, picture.reduce(2)), heads


def write_crowd(folder: str | Path, train: int = 300, test: int = 100, seed: int = 0, size: int = 256) -> None:
    """Write a data set: train/ and test/, each with images/ (JPEG) and points.csv (image, x, y).

    Args:
        folder: where to; there must be nothing yet.
        train: pictures to train on.
        test: pictures to judge by; they do not depend on `train`.
        seed: of the data set.
        size: side of the pictures in pixels, at least 64.

    Raises:
        FileExistsError: there is something already.
        ValueError: size is below 64.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"folder must be a new one, got {str(folder)!r}; give another name, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".tmp-{os.getpid()}-{folder.name}")
    try:
        _write_part(building / "train", range(train), seed, size)
        _write_part(building / "test", range(_TEST, _TEST + test), seed, size)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write_part(folder: Path, indices: range, seed: int, size: int) -> None:
    (folder / "images").mkdir(parents=True)
    with (folder / "points.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "x", "y"))
        for number, index in enumerate(indices):
            picture, heads = synthetic_crowd(seed, index, size)
            picture.save(folder / "images" / f"{number:04}.jpg", quality=95)
            writer.writerows((f"{number:04}.jpg", f"{x:.2f}", f"{y:.2f}") for x, y in heads.tolist())


def _ground_places(random: np.random.Generator, scene: _Scene, count: int) -> np.ndarray:
    """Random places on the ground, denser far away as perspective has it."""
    top = scene.horizon + 2 * scene.far
    y = top + (scene.size - 2 - top) * random.random(count) ** 1.3
    return np.stack([random.uniform(1, scene.size - 1, count), y], 1)


def _places(random: np.random.Generator, scene: _Scene, count: int) -> np.ndarray:
    """Heads, half of them in clusters, none hidden by a nearer one; sorted from far to near."""
    centres = _ground_places(random, scene, int(random.integers(2, 7)))
    spread = random.uniform(2, 5, len(centres)) * scene.radius(centres[:, 1])
    heads, wanted = np.zeros((0, 2)), count
    for _ in range(_TRIES):
        new = _ground_places(random, scene, wanted)
        half = wanted // 2
        cluster = random.integers(0, len(centres), half)
        new[:half] = centres[cluster] + random.standard_normal((half, 2)) * spread[cluster, None] * (1, 0.6)
        heads = np.concatenate([heads, new])
        within = (heads[:, 0] > 1) & (heads[:, 0] < scene.size - 1) & (heads[:, 1] < scene.size - 1)
        heads = heads[within & (heads[:, 1] > scene.horizon + scene.far)]
        heads = heads[~_covers(scene, heads, heads, 1).any(1)]
        wanted = count - len(heads)
        if not wanted:
            break
    return heads[heads[:, 1].argsort(kind="stable")]


def _covers(scene: _Scene, heads: np.ndarray, nearer: np.ndarray, reach: float) -> np.ndarray:
    """Which heads are within `reach` radii of a place that is nearer to the camera, bool (heads, places)."""
    x, y = heads.T[:, :, None]
    square = (x - nearer[:, 0]) ** 2 + (y - nearer[:, 1]) ** 2
    return (square < (reach * scene.radius(nearer[:, 1])) ** 2) & (y < nearer[:, 1])


def _noise(random: np.random.Generator, side: int, cells: int, strength: float) -> np.ndarray:
    """Smooth noise, float32 (side, side, 1)."""
    coarse = Image.fromarray((random.random((cells, cells), dtype=np.float32) - 0.5) * (2 * strength))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BILINEAR))[..., None]


def _tinted(noise: np.ndarray, tone: np.ndarray) -> Image.Image:
    return Image.fromarray((noise + tone.astype(np.float32)).clip(0, 255).astype(np.uint8))


def _ground(random: np.random.Generator, scene: _Scene, places: np.ndarray) -> Image.Image:
    """Paving in perspective with shadows, and houses behind it."""
    side, horizon = scene.size, round(scene.horizon)
    paving = _noise(random, side, 7, 18) + _noise(random, side, side // 6, 16) + _noise(random, side, side, 24)
    step = int(random.integers(12, 36))
    paving[::step] -= 22
    paving[:, ::step] -= 22
    tone = random.uniform(60, 180) * random.uniform(0.9, 1.1, 3)
    picture = _tinted(_noise(random, side, 9, 25), random.uniform(90, 210) * random.uniform(0.9, 1.1, 3))
    _houses(random, ImageDraw.Draw(picture), side, horizon)
    # What of the paving comes to lie at the corners of the ground: all of it far away, its middle near by.
    wide = random.uniform(0.2, 0.4) * side
    corners = (0, 0, wide, side, side - wide, side, side, 0)
    shape, bilinear = (side, side - horizon), Image.Resampling.BILINEAR
    picture.paste(_tinted(paving, tone).transform(shape, Image.Transform.QUAD, corners, bilinear), (0, horizon))
    shade = Image.new("L", (side // 2, side // 2))
    draw = ImageDraw.Draw(shade)
    for (x, y), r in zip((places / 2).tolist(), (scene.radius(places[:, 1]) / 2).tolist(), strict=True):
        draw.ellipse((x - 2 * r, y + 2 * r, x + 4 * r, y + 6 * r), 100)
    picture.paste((0, 0, 0), mask=shade.filter(ImageFilter.BoxBlur(1)).resize((side, side), bilinear))
    return picture


def _houses(random: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, horizon: int) -> None:
    edges = np.sort(random.integers(0, side, 5)).tolist()
    for left, right in zip([0, *edges], [*edges, side], strict=True):
        tone = random.uniform(60, 190) * random.uniform(0.85, 1.15, 3)
        roof, window = int(random.uniform(0, 0.6) * horizon), _colour(0.6 * tone)
        draw.rectangle((left, roof, right, horizon), _colour(tone))
        for x in range(left + 4, right - 8, 12):
            for y in range(roof + 4, horizon - 9, 13):
                draw.rectangle((x, y, x + 5, y + 7), window)


def _colour(tone: np.ndarray) -> tuple[int, ...]:
    return tuple(tone.clip(0, 255).astype(int).tolist())


def _draw_all(
    random: np.random.Generator, scene: _Scene, picture: Image.Image, heads: np.ndarray, others: np.ndarray
) -> None:
    """People and things, from far to near, so that the near ones cover the far ones."""
    draw, places = ImageDraw.Draw(picture), np.concatenate([heads, others])
    radius = scene.radius(places[:, 1]) * random.uniform(0.88, 1.12, len(places))
    count = len(places)
    skin = _SKIN[random.integers(0, len(_SKIN), count)] + random.integers(-12, 13, (count, 3))
    hair = _HAIR[random.integers(0, len(_HAIR), count)] + random.integers(-14, 15, (count, 3))
    coat = random.uniform(15, 225, (count, 3))
    coat = coat.mean(1, keepdims=True) + (coat - coat.mean(1, keepdims=True)) * random.uniform(0, 1, (count, 1)) ** 2
    colours = np.stack([skin, hair, coat], 1).clip(0, 255).astype(int).tolist()
    turn, kind = random.uniform(-1, 1, count).tolist(), random.random(count).tolist()
    for place in places[:, 1].argsort(kind="stable").tolist():
        x, y = (2 * places[place]).tolist()
        r, each = 2 * float(radius[place]), [tuple(colour) for colour in colours[place]]
        if place < len(heads):
            _person(draw, x, y, r, each, turn[place], kind[place])
        else:
            _thing(draw, x, y, r, each, kind[place])


def _person(
    draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colours: list[tuple], turn: float, kind: float
) -> None:
    """Trunk, shoulders, a head that is turned somewhere, hair or a hat."""
    skin, hair, coat = colours
    dark = tuple(v * 3 // 4 for v in coat)
    draw.rectangle((x - 1.3 * r, y + 2.2 * r, x + 1.3 * r, y + 6.5 * r), dark)
    draw.ellipse((x - 2.0 * r, y + 0.9 * r, x + 2.0 * r, y + 4.6 * r), coat)
    draw.ellipse((x - 0.8 * r, y - r, x + 0.8 * r, y + r), hair)
    if kind < 0.75:  # the others are seen from behind
        shift = 0.35 * turn * r
        draw.ellipse((x - 0.6 * r + shift, y - 0.45 * r, x + 0.6 * r + shift, y + 0.95 * r), skin)
    if kind < 0.12:
        hat = tuple(255 - v for v in coat)
        draw.ellipse((x - 1.05 * r, y - 0.6 * r, x + 1.05 * r, y - 0.1 * r), hat)
        draw.ellipse((x - 0.75 * r, y - 1.2 * r, x + 0.75 * r, y - 0.2 * r), hat)


def _thing(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colours: list[tuple], kind: float) -> None:
    """What is no head: a ball, a bin, a lamp, a bush; of the same colours."""
    skin, hair, coat = colours
    if kind < 0.3:
        draw.ellipse((x - r, y - r, x + r, y + r), skin)
        draw.ellipse((x - 0.6 * r, y - 0.7 * r, x + 0.1 * r, y), tuple(min(255, v + 30) for v in skin))
    elif kind < 0.55:
        draw.rectangle((x - 1.2 * r, y - 0.5 * r, x + 1.2 * r, y + 3.5 * r), coat)
        draw.ellipse((x - 1.2 * r, y - r, x + 1.2 * r, y), hair)
    elif kind < 0.75:
        draw.rectangle((x - 0.25 * r, y, x + 0.25 * r, y + 9 * r), hair)
        draw.ellipse((x - 0.7 * r, y - 0.9 * r, x + 0.7 * r, y + 0.5 * r), (236, 228, 196))
    else:
        green = (hair[0] // 2 + 20, 70 + hair[1] // 3, hair[2] // 3 + 20)
        for dx, dy in ((-1.2, 0.3), (1.1, 0.4), (0, -0.6), (0.2, 0.9)):
            draw.ellipse((x + (dx - 1) * r, y + (dy - 1) * r, x + (dx + 1) * r, y + (dy + 1) * r), green)


def _photographed(random: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Light from a side, a colour cast, contrast, and the grain of a camera."""
    picture = ImageEnhance.Contrast(picture).enhance(random.uniform(0.7, 1.0))
    side = picture.width
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    light = 1 + random.uniform(-0.2, 0.2) * ramp[None, :] + random.uniform(-0.2, 0.2) * ramp[:, None]
    cast = (random.uniform(0.7, 1.1) * random.uniform(0.93, 1.07, 3)).astype(np.float32)
    grain = random.standard_normal((side, side, 1), dtype=np.float32) * random.uniform(2, 7)
    pixels = np.asarray(picture, np.float32) * light[..., None] * cast + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
