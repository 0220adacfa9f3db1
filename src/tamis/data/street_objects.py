"""What stands and moves in a generated street, drawn once and large: cars, people, things that look like them."""

import colorsys
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
_CAR_SCALE, _PERSON_SCALE, _PROP_SCALE = 24, 36, 24  # pixels of a drawing to a metre
STEPS = 4  # drawings of a person's walk
_SKIN = ((236, 200, 176), (214, 166, 134), (176, 124, 92), (128, 84, 58), (86, 56, 42))
_HAIR = ((28, 24, 22), (58, 40, 28), (96, 66, 40), (150, 116, 70), (196, 190, 184))
_GLASS, _TYRE = (52, 64, 76), (24, 24, 26)


class Sprite(NamedTuple):
    """A drawing, RGBA, and how large it is in metres."""

    image: Image.Image
    width: float
    height: float


@dataclass(frozen=True)
class Palette:
    """The hues that a camera's street has; an object takes one of them, or any, or grey."""

    hues: tuple[float, ...]
    saturation: float
    grey: float  # share of objects without a hue

    def colour(self, random: np.random.Generator, *, dark: float = 0.1, light: float = 0.95) -> Colour:
        """A colour of an object."""
        if random.random() < self.grey:
            return _rgb(0, 0, random.uniform(dark, light))
        hue = random.choice(self.hues) if random.random() < 0.8 else random.random()
        return _rgb(hue + random.normal(0, 0.03), random.uniform(0.4, 1) * self.saturation, random.uniform(dark, light))


@dataclass(frozen=True)
class Car:
    """A car's, van's or bus's size in metres, its shape and colours."""

    length: float
    width: float
    height: float
    body: Colour
    second: Colour
    bonnet: float  # share of the length in front of the cabin
    boot: float
    sign: bool

    @staticmethod
    def of(random: np.random.Generator, palette: Palette) -> "Car":
        """One of a street's cars: seven of ten are cars, two vans, one a bus or lorry."""
        kind = random.choice(3, p=(0.7, 0.2, 0.1))
        low, high, roof = ((3.4, 4.8, 1.45), (4.6, 6.2, 2.2), (8, 11, 3.1))[kind]
        shape = ((random.uniform(0.14, 0.3), random.uniform(0, 0.22)), (random.uniform(0, 0.16), 0.0), (0.0, 0.0))[kind]
        body = palette.colour(random)
        second = body if random.random() < 0.6 else palette.colour(random)
        size = random.uniform(low, high), random.uniform(1.65, 1.95) + 0.3 * kind, roof * random.uniform(0.9, 1.1)
        return Car(*size, body, second, *shape, sign=bool(random.random() < 0.1))

    def seen(self, angle: float, forward: bool) -> Sprite:
        """The car on a road that leaves the line of sight by `angle` (radians; 0 runs into the depth).

        Args:
            angle: of the road, in (-pi, pi).
            forward: it drives along the road's direction, else against it.
        """
        heading = angle if forward else angle + math.pi
        side, end = self.length * abs(math.sin(angle)), self.width * abs(math.cos(angle))
        away, right = math.cos(heading) > 0, math.sin(heading) > 0
        width = side + end
        image = Image.new("RGBA", (max(2, round(width * _CAR_SCALE)), round(self.height * _CAR_SCALE)))
        self._draw(ImageDraw.Draw(image), side / width, away)
        # Drawn as driving to the right with the front visible at the right, or the rear at the left.
        mirrored = image if right else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return Sprite(mirrored, width, self.height)

    def _draw(self, draw: ImageDraw.ImageDraw, share: float, away: bool) -> None:
        """`share` of the width shows the side, the rest the rear (`away`, at the left) or the front (at the right)."""
        width, height = draw.im.size
        left, right = (width * (1 - share), width) if away else (0, width * share)
        length = right - left
        roof = (left + self.boot * length, right - self.bonnet * length)
        belt, sill = height * 0.5, height * 0.87
        draw.rectangle((0, belt, width, sill), fill=self.body)
        slope = 0.1 * length
        cabin = [(left, belt), (roof[0] + slope * 0.6, 0), (roof[1] - slope, 0), (right, belt)]
        draw.polygon(cabin, fill=self.second)
        inner = [(x + 0.07 * length * (1 if i < 2 else -1), max(y, 0.1 * height)) for i, (x, y) in enumerate(cabin)]
        draw.polygon(inner, fill=_GLASS)
        post = (roof[0] + roof[1]) / 2
        draw.rectangle((post - width * 0.012, 0, post + width * 0.012, belt), fill=self.second)
        end = (0, left) if away else (right, width)
        if end[1] - end[0] > 2:
            self._draw_end(draw, end, away, belt, sill)
        radius = height * 0.17 * min(1.0, 1.6 / self.height)
        for x in (left + 0.2 * length, left + 0.8 * length):
            draw.ellipse((x - radius, height - 2 * radius, x + radius, height - 1), fill=_TYRE)
        if self.sign:
            draw.rectangle((width * 0.42, 0, width * 0.58, height * 0.07), fill=(240, 200, 40))

    def _draw_end(
        self, draw: ImageDraw.ImageDraw, end: tuple[float, float], away: bool, belt: float, sill: float
    ) -> None:
        first, last = end
        span, height = last - first, draw.im.size[1]
        draw.polygon([(first, belt), (first + span * 0.1, 0), (last - span * 0.1, 0), (last, belt)], fill=self.second)
        draw.rectangle((first + span * 0.16, height * 0.1, last - span * 0.16, belt * 0.9), fill=_GLASS)
        draw.rectangle((first, belt, last, sill), fill=_shade(self.body, 0.85))
        light = (190, 30, 30) if away else (235, 235, 215)
        for x in (first, last - span * 0.2):
            draw.rectangle((x, belt * 1.1, x + span * 0.2, belt * 1.3), fill=light)
        draw.rectangle((first + span * 0.06, sill, last - span * 0.06, height), fill=_TYRE)


@dataclass(frozen=True)
class Person:
    """A person's size in metres and clothes."""

    height: float
    broad: float
    coat: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    skirt: bool
    bag: Colour | None
    hat: Colour | None

    @staticmethod
    def of(random: np.random.Generator, palette: Palette) -> "Person":
        """One of a street's people; one of six is a child."""
        height = random.uniform(1.1, 1.4) if random.random() < 0.17 else random.uniform(1.55, 1.92)
        bag = palette.colour(random) if random.random() < 0.35 else None
        hat = palette.colour(random) if random.random() < 0.25 else None
        skin, hair = (colours[random.integers(len(colours))] for colours in (_SKIN, _HAIR))
        clothes = palette.colour(random), palette.colour(random, light=0.5)
        skirt = bool(random.random() < 0.3)
        return Person(height, random.uniform(0.9, 1.25), *clothes, skin, hair, skirt, bag, hat)

    def seen(self, step: int, right: bool = True, umbrella: Colour | None = None) -> Sprite:
        """The person at a step in [0, STEPS) of the walk, to the right or left, under an umbrella or without."""
        width = 0.62 * self.broad
        rise = 0.3 if umbrella else 0.0
        image = Image.new("RGBA", (round(width * _PERSON_SCALE), round((self.height + rise) * _PERSON_SCALE)))
        draw = ImageDraw.Draw(image)
        across, down = image.width, image.height
        top = down * rise / (self.height + rise)
        high = down - top
        middle = across / 2
        spread = across * 0.3 * (0.15, 0.8, 0.3, 0.95)[step % STEPS]
        thick = max(2, round(across * 0.2))
        for foot in (-spread, spread):
            draw.line((middle, top + high * 0.5, middle + foot, down), fill=self.legs, width=thick)
        draw.rounded_rectangle(
            (middle - across * 0.24, top + high * 0.17, middle + across * 0.24, top + high * 0.55), 4, fill=self.coat
        )
        if self.skirt:
            sides = [(middle - across * 0.2, top + high * 0.5), (middle + across * 0.2, top + high * 0.5)]
            hem = [(middle + across * 0.32, top + high * 0.74), (middle - across * 0.32, top + high * 0.74)]
            draw.polygon(sides + hem, fill=self.coat)
        for hand in (-spread * 0.8, spread * 0.8):
            shoulder = middle + (across * 0.2 if hand > 0 else -across * 0.2)
            draw.line((shoulder, top + high * 0.21, shoulder + hand * 0.6, top + high * 0.5), fill=self.coat, width=4)
        if self.bag:
            draw.rectangle((0, top + high * 0.25, across * 0.3, top + high * 0.48), fill=self.bag)
        radius = high * 0.075
        draw.ellipse((middle - radius, top, middle + radius, top + 2.2 * radius), fill=self.skin)
        draw.pieslice((middle - radius, top, middle + radius, top + 2 * radius), 150, 370, fill=self.hat or self.hair)
        if umbrella:
            draw.pieslice((0, 0, across - 1, 2 * (top + radius)), 180, 360, fill=umbrella)
        mirrored = image if right else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return Sprite(mirrored, width, self.height + rise)


def tree(random: np.random.Generator) -> Sprite:
    """A trunk and a crown with holes."""
    width, height = random.uniform(2.2, 4.5), random.uniform(3.5, 7)
    image = Image.new("RGBA", (round(width * _PROP_SCALE), round(height * _PROP_SCALE)))
    draw = ImageDraw.Draw(image)
    across, down = image.size
    draw.rectangle((across * 0.46, down * 0.4, across * 0.54, down), fill=(74, 56, 40))
    hue, value = random.uniform(0.18, 0.4), random.uniform(0.25, 0.5)
    for _ in range(38):
        x, y = random.uniform(0.18, 0.82) * across, random.uniform(0.12, 0.5) * down
        radius = random.uniform(0.08, 0.18) * across
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=_rgb(hue, 0.5, value * random.uniform(0.7, 1.2))
        )
    return Sprite(image, width, height)


def pole(random: np.random.Generator, height: float) -> Sprite:
    """A lamp post or a thick pillar, which hides a part of what goes behind it."""
    width = random.uniform(0.16, 0.5)
    image = Image.new("RGBA", (max(4, round(width * _PROP_SCALE)), round(height * _PROP_SCALE)))
    ImageDraw.Draw(image).rectangle((0, 0, *image.size), fill=_rgb(0, 0, random.uniform(0.2, 0.6)))
    return Sprite(image, width, height)


def look_alike(random: np.random.Generator, palette: Palette) -> Sprite:
    """A thing that is no person and no car, but has the size, the colours or the picture of one."""
    kind = random.integers(4)
    if kind == 0:  # a bin or a letter box
        width, height = random.uniform(0.45, 0.8), random.uniform(1.0, 1.8)
        image = Image.new("RGBA", (round(width * _PROP_SCALE), round(height * _PROP_SCALE)))
        draw, colour = ImageDraw.Draw(image), palette.colour(random)
        across, down = image.size
        draw.rounded_rectangle((0, down * 0.18, across - 1, down - 1), 3, fill=colour)
        draw.ellipse((across * 0.1, 0, across * 0.9, down * 0.3), fill=palette.colour(random))
        return Sprite(image, width, height)
    if kind == 1:  # a container or a stall, as long as a car
        width, height = random.uniform(2.2, 4.4), random.uniform(1.1, 1.7)
        image = Image.new("RGBA", (round(width * _PROP_SCALE), round(height * _PROP_SCALE)))
        draw = ImageDraw.Draw(image)
        across, down = image.size
        draw.polygon([(0, down * 0.2), (across * 0.1, 0), (across * 0.9, 0), (across, down * 0.2)], fill=(70, 76, 80))
        draw.rectangle((0, down * 0.2, across, down * 0.9), fill=palette.colour(random))
        for x in (0.1, 0.8):
            draw.rectangle((across * x, down * 0.88, across * (x + 0.1), down), fill=_TYRE)
        return Sprite(image, width, height)
    picture = Person.of(random, palette).seen(1) if kind == 2 else Car.of(random, palette).seen(1.45, True)
    width, height = picture.width * 1.25, picture.height * 1.15
    image = Image.new("RGBA", (round(width * _PROP_SCALE), round((height + 0.3) * _PROP_SCALE)))
    panel = image.width, round(height * _PROP_SCALE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, *panel), fill=palette.colour(random, dark=0.5))
    draw.rectangle((panel[0] * 0.45, panel[1], panel[0] * 0.55, image.height), fill=(80, 80, 84))
    inner = picture.image.resize((round(panel[0] * 0.8), round(panel[1] * 0.88)))
    image.paste(inner, (round(panel[0] * 0.1), round(panel[1] * 0.08)), inner)
    return Sprite(image, width, height + 0.3)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(1.0, saturation), min(1.0, max(0.0, value)))
    return round(red * 255), round(green * 255), round(blue * 255)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return round(red * factor), round(green * factor), round(blue * factor)
