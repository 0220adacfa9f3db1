"""A generated street camera: what is on its frames, and where."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from tamis.data.street_light import Light, Weather
from tamis.data.street_objects import STEPS, Car, Person, Sprite
from tamis.data.street_scene import Route, Scene
from tamis.data.street_traffic import LOOKS, Passing, Traffic
from tamis.detections import Detections
from tamis.moment import seed_of

CLASS_NAMES = ("car", "person")
OCCLUSION_LEVELS = (0.1, 0.4, 0.7)  # shares hidden at which the levels 1, 2 and 3 begin
_HIDDEN = 0.9
_SMALLEST = 40  # pixels of a box's area at a height of 180
_CACHE = 6000  # sized drawings that a camera keeps
_SCENERY = -1
_HEAD_LAMP, _REAR_LAMP = np.array(((0.9, 0.85, 0.7), (0.5, 0.08, 0.05)), np.float32)


class _Look(NamedTuple):
    """What a drawing depends on: of an object, or of a prop by its number."""

    label: int
    look: int
    forward: bool = True
    step: int = 0
    umbrella: bool = False


class _Sized(NamedTuple):
    """A drawing at its size in pixels, RGBA, and where it is not transparent."""

    image: Image.Image
    mask: np.ndarray


class _Shown(NamedTuple):
    """Something in the picture: where its drawing's corner is, how far away, and whose it is."""

    sized: _Sized
    left: int
    top: int
    far: float
    label: int
    lamps: tuple[bool, np.ndarray] | None = None  # at the right end or the left, and their colour


class StreetCamera:
    """A fixed camera over a street; each of its frames is a pure function of the seed and the second.

    Streets of different seeds differ in everything: perspective, houses, colours, sizes, traffic, weather, lamps,
    sensor. More than half of the frames of most are empty.

    Attributes:
        class_names: "car" (also vans and buses, moving or parked) and "person".
        scene: the unmoving part.

    Args:
        seed: of the camera.
        width: in pixels.
        height: in pixels.

    Raises:
        ValueError: a side below 64 pixels.
    """

    class_names = CLASS_NAMES

    def __init__(self, seed: int, width: int = 320, height: int = 180) -> None:
        if min(width, height) < 64:
            raise ValueError(f"sides of a street must be at least 64 pixels, got {width!r} x {height!r}")
        self.seed, self.width, self.height = seed, width, height
        self.scene = Scene(seed, width, height)
        self._routes = self.scene.routes + self.scene.standing
        self._traffic = Traffic(seed, self.scene.routes, self.scene.standing)
        self._light = Light(seed, self.scene)
        random = np.random.default_rng(seed_of(seed, "street looks"))
        self._cars = [Car.of(random, self.scene.palette) for _ in range(LOOKS)]
        self._people = [Person.of(random, self.scene.palette) for _ in range(LOOKS)]
        self._umbrella = self.scene.palette.colour(random)
        self._sprites: dict[_Look, Sprite] = {}
        self._sizes: dict[tuple[_Look, int, int], _Sized] = {}
        self._props = []
        for number, prop in enumerate(self.scene.props):
            look = _Look(_SCENERY, number)
            self._sprites[look] = prop.sprite
            self._props += self._stand(look, prop.place)

    def frame(self, index: int) -> tuple[np.ndarray, Detections, np.ndarray]:
        """The frame of a second since the first midnight; days of 86,400 differ.

        Args:
            index: the second, at least 0.

        Returns:
            The picture, uint8 (h, w, 3), RGB. The cars (label 0) and people (label 1) on it with the extents of
            their visible parts; those hidden by more than 90 % or smaller than 40 pixels in area (at a height of 180)
            are left out. How much of each is hidden by other things, int64 (k,): 0 below 10 %, 1 below 40 %, 2 below
            70 %, else 3.

        Raises:
            ValueError: index is negative.
        """
        if index < 0:
            raise ValueError(f"index must be a second from 0 on, got {index!r}")
        weather = self._light.weather(index)
        found = [one for passing in self._traffic.at(index) for one in self._show(passing, weather)]
        shown = sorted(found + self._props, key=lambda one: -one.far)
        picture = self.scene.picture.copy()
        owner = np.zeros((self.height, self.width), np.int16)
        inside = []
        for number, one in enumerate(shown):
            if one.label != _SCENERY:
                _paste_contact(picture, one)
            picture.paste(one.sized.image, (one.left, one.top), one.sized.image)
            place, mask = self._part(one)
            owner[place][mask] = number
            inside.append(mask.sum())
        truth, hidden = self._truth(shown, owner, inside)
        recorded = self._light.record(picture, self._glow(shown, weather), weather, index)
        return recorded, truth, np.digitize(hidden, OCCLUSION_LEVELS)

    def _show(self, passing: Passing, weather: Weather) -> list[_Shown]:
        """Somebody in the picture; none who is out of it."""
        route = self._routes[passing.route]
        along = route.start + passing.along if route.forward else route.end - passing.along
        place = route.road.place(np.array(along), route.right + passing.right)
        umbrella = not route.car and weather.rain > 0.3 and passing.look % 3 > 0
        look = _Look(0 if route.car else 1, passing.look, route.forward, passing.step % STEPS, umbrella)
        if look not in self._sprites:
            self._sprites[look] = self._draw(look, route)
        return self._stand(look, place, _lamps(route) if route.car and route.length else None)

    def _draw(self, look: _Look, route: Route) -> Sprite:
        if route.car:
            return self._cars[look.look].seen(route.road.angle, look.forward)
        right = (math.sin(route.road.angle) > 0) == look.forward
        return self._people[look.look].seen(look.step, right, self._umbrella if look.umbrella else None)

    def _stand(self, look: _Look, place: np.ndarray, lamps: tuple[bool, np.ndarray] | None = None) -> list[_Shown]:
        """A drawing on the ground; none where nothing of it is in the picture."""
        if place[1] < 0.3 * self.scene.ground.nearest:
            return []
        sprite = self._sprites[look]
        column, row, scale = (float(value) for value in self.scene.ground.project(place))
        width, height = max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale))
        left, top = round(column - width / 2), round(row) - height
        if left >= self.width or top >= self.height or left + width <= 0 or top + height <= 0:
            return []
        key = look, width, height
        if key not in self._sizes:
            if len(self._sizes) == _CACHE:
                self._sizes.clear()
            image = sprite.image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
            self._sizes[key] = _Sized(image, np.asarray(image.getchannel("A")) > 127)
        return [_Shown(self._sizes[key], left, top, float(place[1]), look.label, lamps)]

    def _part(self, one: _Shown) -> tuple[tuple[slice, slice], np.ndarray]:
        """Where in the picture something is, and which pixels of that it covers."""
        top, left = max(0, one.top), max(0, one.left)
        mask = one.sized.mask[top - one.top : self.height - one.top, left - one.left : self.width - one.left]
        return (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])), mask

    def _truth(self, shown: list[_Shown], owner: np.ndarray, inside: list[int]) -> tuple[Detections, np.ndarray]:
        """Boxes of what can be seen, and the share of each that is hidden, float64 (k,)."""
        boxes, labels, hidden = [], [], []
        smallest = _SMALLEST * (self.height / 180) ** 2
        for number, one in enumerate(shown):
            if one.label == _SCENERY or not inside[number]:
                continue
            place, mask = self._part(one)
            seen = (owner[place] == number) & mask
            share = 1 - seen.sum() / inside[number]
            if share > _HIDDEN:
                continue
            down, across = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
            x1, y1 = place[1].start + across[0], place[0].start + down[0]
            x2, y2 = place[1].start + across[-1] + 1, place[0].start + down[-1] + 1
            if (x2 - x1) * (y2 - y1) >= smallest:
                boxes.append((x1, y1, x2, y2))
                labels.append(one.label)
                hidden.append(share)
        corners = torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4))
        truth = Detections(corners, torch.ones(len(boxes)), torch.tensor(labels, dtype=torch.int64))
        return truth, np.array(hidden, np.float64)

    def _glow(self, shown: list[_Shown], weather: Weather) -> np.ndarray | None:
        """The light of the cars' lamps, float32 (h, w, 3); None by day."""
        if weather.day > 0.5:
            return None
        glow = np.zeros((self.height, self.width, 3), np.float32)
        for one in shown:
            if one.lamps is None:
                continue
            right, colour = one.lamps
            width, height = one.sized.image.size
            disc = _disc(max(4, round(height * 1.6)))
            top = one.top + round(height * 0.65) - len(disc) // 2
            left = one.left + (width if right else 0) - len(disc) // 2
            first, start = max(0, top), max(0, left)
            part = disc[first - top : max(0, self.height - top), start - left : max(0, self.width - left)]
            glow[first : first + part.shape[0], start : start + part.shape[1]] += part[..., None] * colour
        return glow


def _lamps(route: Route) -> tuple[bool, np.ndarray]:
    """Whether the lamps that can be seen of a car on a route are at its right end, and their colour."""
    heading = route.road.angle if route.forward else route.road.angle + math.pi
    away = math.cos(heading) > 0
    return (math.sin(heading) > 0) != away, _REAR_LAMP if away else _HEAD_LAMP


def _paste_contact(picture: Image.Image, one: _Shown) -> None:
    """The dark below something that stands on the ground."""
    width, height = one.sized.image.size
    shade = _contact(max(2, round(width * 1.1)), max(2, round(height * 0.14)))
    picture.paste((0, 0, 0), (one.left - round(width * 0.05), one.top + height - shade.height * 2 // 3), shade)


@lru_cache(maxsize=2048)
def _contact(width: int, height: int) -> Image.Image:
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    return Image.fromarray((110 * np.clip(1.2 - x**2 - y**2, 0, 1)).astype(np.uint8))


@lru_cache(maxsize=256)
def _disc(side: int) -> np.ndarray:
    """A blurred disc of light, float32 (side, side)."""
    x = np.linspace(-2, 2, side, dtype=np.float32)
    far = x**2 + x[:, None] ** 2
    return np.where(far < 4, np.exp(-2 * far), 0)
