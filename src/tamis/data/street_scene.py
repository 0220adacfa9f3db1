"""The unmoving part of a generated street: ground, road, houses, what stands about, and where things move."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tamis.data.street_objects import Palette, Sprite, look_alike, pole, tree
from tamis.moment import seed_of

_LANE, _PAVEMENT = 3.2, 2.6  # widths in metres
_FAR = 7.0  # pixels to a metre, at a height of 180, where routes end in the depth


@dataclass(frozen=True)
class Ground:
    """A pinhole camera above flat ground; X to the right and Z into the depth in metres, from below the camera."""

    width: int
    height: int
    horizon: float
    middle: float
    focal: float
    above: float  # metres from the ground to the camera

    def project(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ground (..., 2) -> column, row, and pixels to a metre there."""
        scale = self.focal / place[..., 1]
        return self.middle + place[..., 0] * scale, self.horizon + self.above * scale, scale

    @property
    def nearest(self) -> float:
        """Z at the lowest row."""
        return self.focal * self.above / (self.height - self.horizon)


@dataclass(frozen=True)
class Road:
    """A straight road through a point; a place on it is (metres along it, metres to its right)."""

    through: np.ndarray
    angle: float
    lanes: int

    @property
    def half(self) -> float:
        """Half of the carriageway's width in metres."""
        return self.lanes * _LANE / 2

    def place(self, along: np.ndarray, right: np.ndarray | float) -> np.ndarray:
        """On the ground, (..., 2)."""
        sine, cosine = math.sin(self.angle), math.cos(self.angle)
        x = self.through[0] + along * sine + right * cosine
        return np.stack((x, self.through[1] + along * cosine - right * sine), -1)


@dataclass(frozen=True)
class Route:
    """Where things move or stand: a line beside a road's axis."""

    road: Road
    right: float
    start: float
    end: float
    forward: bool
    car: bool

    @property
    def length(self) -> float:
        """In metres."""
        return self.end - self.start


@dataclass(frozen=True)
class Prop:
    """Something that stands on the ground and hides what is behind it."""

    place: np.ndarray
    sprite: Sprite


class Scene:
    """One street, a pure function of its seed.

    Attributes:
        ground: the camera above it.
        palette: the colours of what is in it.
        routes: of cars and people.
        standing: places at which cars park and people wait; routes without a length.
        props: trees, poles and things that look like people and cars.
        lamps: ground places of the street lamps, (k, 2).
        picture: RGB without light, shadows and props.
        windows: L, the windows of the houses.
    """

    def __init__(self, seed: int, width: int, height: int) -> None:
        random = np.random.default_rng(seed_of(seed, "street scene"))
        unit = height / 180
        self.ground = Ground(
            width,
            height,
            horizon=height * random.uniform(0.1, 0.36),
            middle=width * random.uniform(0.3, 0.7),
            focal=unit * random.uniform(190, 380),
            above=random.uniform(2.8, 5.5),
        )
        hues = tuple(random.random(random.integers(1, 4)))
        self.palette = Palette(hues, random.uniform(0.45, 1.0), random.uniform(0.1, 0.6))
        kind = random.choice(3, p=(0.35, 0.4, 0.25))
        low, high = ((0.05, 0.35), (0.45, 1.1), (1.3, 1.57))[kind]
        lanes = 2 if kind == 2 else int(random.integers(1, 4))
        centre = self._point(random.uniform(0.35, 0.65), random.uniform(0.55, 0.72))
        self.road = Road(centre, random.uniform(low, high) * random.choice((-1, 1)), lanes)
        self.routes = self._routes(random)
        self.standing = self._standing(random)
        self.lamps = np.zeros((0, 2))
        self.props = self._props(random)
        self.picture, self.windows = self._draw(random)

    def _point(self, across: float, down: float) -> np.ndarray:
        """The ground at a share of the picture's width and height."""
        scale = (down * self.ground.height - self.ground.horizon) / self.ground.above
        x = (across * self.ground.width - self.ground.middle) / scale
        return np.array((x, self.ground.focal / scale))

    def _stretch(self, right: float, margin: float = 4.0) -> tuple[float, float]:
        """First and last metre along the road that can be seen, with a margin."""
        along = np.linspace(-160, 160, 1281)
        place = self.road.place(along, right)
        place[:, 1] = np.maximum(place[:, 1], 0.1)
        column, row, scale = self.ground.project(place)
        side = margin * scale
        seen = (column > -side) & (column < self.ground.width + side) & (row < self.ground.height + side)
        seen &= (scale > _FAR * self.ground.height / 180) & (place[:, 1] > 0.5)
        found = np.flatnonzero(seen)
        return (float(along[found[0]]), float(along[found[-1]])) if len(found) else (0.0, 1.0)

    def _routes(self, random: np.random.Generator) -> tuple[Route, ...]:
        routes = []
        one_way = self.road.lanes == 1 or random.random() < 0.2
        for lane in range(self.road.lanes):
            right = (lane + 0.5) * _LANE - self.road.half
            routes.append(Route(self.road, right, *self._stretch(right), forward=one_way or right > 0, car=True))
        for side in (-1, 1):
            right = side * (self.road.half + _PAVEMENT * random.uniform(0.35, 0.65))
            for forward in (False, True):
                routes.append(Route(self.road, right, *self._stretch(right, 1.0), forward=forward, car=False))
        return tuple(routes)

    def _standing(self, random: np.random.Generator) -> tuple[Route, ...]:
        """Up to five spaces in a row beside the carriageway, and up to three places to wait on the pavements."""
        side = random.choice((-1, 1))
        places = []
        for car, right, most in ((True, self.road.half + 0.4, 6), (False, self.road.half + 0.7 * _PAVEMENT, 4)):
            start, end = self._stretch(side * right)
            for _ in range(random.integers(0, most)):
                at = random.uniform(start + 0.1 * (end - start), end)
                places.append(Route(self.road, side * right, at, at, forward=bool(side > 0), car=car))
            side = random.choice((-1, 1))
        return tuple(places)

    def _props(self, random: np.random.Generator) -> tuple[Prop, ...]:
        props = []
        beyond = self.road.half + _PAVEMENT
        start, end = self._stretch(0.0)
        lamp_height = random.uniform(4.5, 7)
        side = random.choice((-1, 1))
        for along in np.arange(start + random.uniform(0, 8), end, random.uniform(11, 22)):
            self.lamps = np.append(self.lamps, self.road.place(np.array([along]), side * (self.road.half + 0.3)), 0)
            props.append(Prop(self.lamps[-1], pole(random, lamp_height)))
        for count, right, draw in (
            (random.integers(0, 6), beyond * random.uniform(0.95, 1.2), tree),
            (random.integers(0, 3), self.road.half + 0.2, tree),
            (random.integers(0, 4), self.road.half + random.uniform(0.2, 1.0), lambda r: pole(r, r.uniform(1, 3))),
            (random.integers(4, 10), beyond * random.uniform(0.9, 1.15), lambda r: look_alike(r, self.palette)),
        ):
            for _ in range(count):
                place = np.array([random.uniform(start, end)])
                ground = self.road.place(place, random.choice((-1, 1)) * right * random.uniform(0.95, 1.1))[0]
                if ground[1] > 0.6 * self.ground.nearest:
                    props.append(Prop(ground, draw(random)))
        return tuple(sorted(props, key=lambda prop: -prop.place[1]))

    @cached_property
    def depth(self) -> np.ndarray:
        """Metres to the ground in each row, float32 (h,); above the horizon as far as just below it."""
        below = np.maximum(np.arange(self.ground.height) + 1 - self.ground.horizon, 2)
        return (self.ground.focal * self.ground.above / below).astype(np.float32)

    def _draw(self, random: np.random.Generator) -> tuple[Image.Image, Image.Image]:
        ground = self.ground
        size = 2 * ground.width, 2 * ground.height
        picture, windows = Image.new("RGB", size), Image.new("L", size)
        draw = ImageDraw.Draw(picture)
        sky = np.array((150, 185, 225)) + random.normal(0, 12, 3)
        draw.rectangle((0, 0, *size), fill=_grey(sky))
        soil = np.array(((118, 124, 84), (150, 138, 112), (128, 126, 124))[random.integers(3)])
        draw.rectangle((0, 2 * ground.horizon, *size), fill=_grey(soil + random.normal(0, 10, 3)))
        asphalt, stone = random.uniform(70, 125), random.uniform(120, 185)
        beyond = self.road.half + _PAVEMENT
        draw.polygon(self._strip(-beyond, beyond), fill=_grey(stone + random.normal(0, 8, 3)))
        draw.polygon(self._strip(-self.road.half, self.road.half), fill=_grey(asphalt + random.normal(0, 4, 3)))
        self._draw_lines(draw)
        self._draw_houses(random, picture, windows)
        grain = random.normal(0, 1, (ground.height // 6, ground.width // 6))
        coarse = Image.fromarray(np.float32(grain)).resize(size, Image.Resampling.BICUBIC)
        fine = random.normal(0, random.uniform(2, 9), size[::-1])
        rough = np.asarray(coarse) * random.uniform(2, 8) + fine
        textured = np.clip(np.asarray(picture) + rough[..., None], 0, 255).astype(np.uint8)
        return Image.fromarray(textured).reduce(2), windows.reduce(2)

    def _strip(self, left: float, right: float, start: float = -160, end: float = 160) -> list[tuple[float, float]]:
        """Polygon, on twice the size, of the road between two distances from its axis."""
        corners = []
        for offset, ends in ((left, (start, end)), (right, (end, start))):
            place = self.road.place(np.linspace(*ends, 641), offset)
            column, row, _ = self.ground.project(place[place[:, 1] > 0.3 * self.ground.nearest])
            corners += zip((2 * column).tolist(), (2 * row).tolist(), strict=True)
        return corners if len(corners) > 2 else [(0, 0)] * 3

    def _draw_lines(self, draw: ImageDraw.ImageDraw) -> None:
        start, end = self._stretch(0.0)
        for lane in range(1, self.road.lanes):
            right = lane * _LANE - self.road.half
            for along in np.arange(start - 6, end, 6):
                draw.polygon(self._strip(right - 0.08, right + 0.08, along, along + 3), fill=(214, 214, 206))

    def _draw_houses(self, random: np.random.Generator, picture: Image.Image, windows: Image.Image) -> None:
        """Facades beyond the pavements, from far to near; none between the camera and the road."""
        sides = (-1, 1) if abs(self.road.angle) < 0.4 else (1 if self.road.angle < 0 else -1,)
        houses = []
        for side in sides:
            along = -70.0
            while along < 90:
                width = random.uniform(5, 13)
                right = side * (self.road.half + _PAVEMENT + random.uniform(1.5, 6))
                place = self.road.place(np.array([along]), right)[0]
                if place[1] > 1.4 * self.ground.nearest:
                    houses.append((place, width, random.uniform(4, 13)))
                along += width + random.choice((0.0, random.uniform(0, 9)))
        for place, width, height in sorted(houses, key=lambda house: -house[0][1]):
            column, row, scale = (float(value) for value in self.ground.project(place))
            box = 2 * np.array((column - width * scale / 2, row - height * scale, column + width * scale / 2, row))
            _draw_house(random, picture, windows, box, 2 * scale)


def _draw_house(
    random: np.random.Generator, picture: Image.Image, windows: Image.Image, box: np.ndarray, scale: float
) -> None:
    draw, glow = ImageDraw.Draw(picture), ImageDraw.Draw(windows)
    wall = np.array(((168, 150, 130), (150, 96, 80), (186, 182, 172), (120, 126, 132))[random.integers(4)])
    x1, y1, x2, y2 = box
    draw.rectangle((x1, y1, x2, y2), fill=_grey(wall + random.normal(0, 14, 3)))
    glow.rectangle((x1, y1, x2, y2), fill=0)
    step, pane = 3.0 * scale, 1.2 * scale
    for y in np.arange(y1 + 0.6 * scale, y2 - 2 * scale, step):
        for x in np.arange(x1 + 0.8 * scale, x2 - pane, 0.8 * step):
            draw.rectangle((x, y, x + pane, y + 1.2 * pane), fill=(70, 80, 92))
            glow.rectangle((x, y, x + pane, y + 1.2 * pane), fill=int(random.choice((0, 0, 90, 200))))
    draw.rectangle((x1 + 0.4 * scale, y2 - 2.1 * scale, x1 + 1.5 * scale, y2), fill=(64, 50, 44))


def blurred(mask: Image.Image, radius: float) -> np.ndarray:
    """A mask, softened, float32 (h, w) in [0, 1]."""
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255


def _grey(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue
