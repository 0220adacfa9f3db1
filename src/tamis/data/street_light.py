"""Light, weather and sensor of a generated street: from the colours of things to what a camera would record."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from tamis.data.street_scene import Scene, blurred
from tamis.data.street_traffic import DAY, drift
from tamis.moment import seed_of

_GREY = np.full(3, 1 / 3, np.float32)
_QUARTER = 900  # seconds for which shadows stand still


class Weather(NamedTuple):
    """The sky at a second.

    Attributes:
        day: 0 at night to 1 in full daylight.
        sun: strength of direct light, in [0, 1].
        height: of the sun over the horizon, in [-1, 1].
        rain: in [0, 1].
        fog: in [0, 1].
    """

    day: float
    sun: float
    height: float
    rain: float
    fog: float


class Light:
    """Lights a street, and records it as its camera does: a pure function of seed and second."""

    def __init__(self, seed: int, scene: Scene) -> None:
        random = np.random.default_rng(seed_of(seed, "street light"))
        self.seed, self.scene = seed, scene
        self.noon, self.daylight = random.uniform(12, 13.5), random.uniform(9, 15)
        self.floor = random.uniform(0.10, 0.22)
        self.lamp_light = self._pools(random) * random.uniform(0.25, 0.7)
        self.windows = blurred(scene.windows, 0.6)[..., None] * np.array((0.9, 0.7, 0.4), np.float32)
        self.cast = np.clip(random.normal(1, 0.09, 3), 0.75, 1.25).astype(np.float32)
        self.contrast, self.saturation = random.uniform(0.75, 1.25), random.uniform(0.4, 1.2)
        self.grain = random.uniform(2, 5), random.uniform(5, 12)  # by day and at night, in grey levels
        self.infrared = bool(random.random() < 0.25)
        self.blur = float(random.choice((0.0, 0.0, random.uniform(0.4, 0.9))))
        shape = scene.ground.height + 64, scene.ground.width + 64
        grain = random.normal(0, 0.8, (*shape, 1)) + random.normal(0, 0.6, (*shape, 3))
        self._noise = grain.astype(np.float32)
        self._streaks = self._make_streaks(random, shape)
        self._clouds = random.random((9, 64))
        self._shadows = lru_cache(maxsize=128)(self._draw_shadows)

    def weather(self, second: int) -> Weather:
        """The sky at a second since the first midnight."""
        height = math.sin(math.pi * ((second % DAY / 3600 - self.noon) / self.daylight + 0.5))
        if abs(second % DAY / 3600 - self.noon) > self.daylight:
            height = -1.0
        day = min(1.0, max(0.0, (height + 0.25) / 0.6)) ** 1.5
        cover = drift(self.seed, "cover", second, 7200)
        rain = max(0.0, drift(self.seed, "rain", second, 5400) - 0.78) * 4.5
        fog = max(0.0, drift(self.seed, "fog", second, 10_800) - 0.75) * 3.5
        return Weather(day, max(0.0, height) ** 0.5 * max(0.0, 1 - 1.6 * cover), height, rain, fog)

    def record(self, albedo: Image.Image, glow: np.ndarray | None, weather: Weather, second: int) -> np.ndarray:
        """What the camera records, uint8 (h, w, 3).

        Args:
            albedo: RGB, the colours of things without light.
            glow: float32 (h, w, 3) in [0, 1], the light of cars; None if there is none.
            weather: at this second.
            second: since the first midnight.
        """
        if self.blur:
            albedo = albedo.filter(ImageFilter.GaussianBlur(self.blur))
        picture = np.asarray(albedo, dtype=np.float32)
        picture *= self._light(weather, second)
        picture *= np.float32(1 / 255)
        night = 1 - weather.day
        if night > 0.3:
            awake = 0.15 + 0.85 * (second % DAY / 3600 > 16)
            picture += self.windows * np.float32(night * 0.5 * awake)
        if glow is not None:
            picture += glow
        self._veil(picture, weather)
        return self._sense(picture, weather, second)

    def _light(self, weather: Weather, second: int) -> np.ndarray:
        """What falls on each pixel, float32 (h, w, 3)."""
        low = 1 - min(1.0, abs(weather.height) * 2.5)  # dawn and dusk
        tint = np.array((0.92 + 0.2 * low, 0.97 - 0.02 * low, 1.06 - 0.22 * low), np.float32)
        diffuse = self.floor + (0.75 - self.floor) * weather.day * (1 - 0.3 * weather.rain)
        steady = 0.92 + 0.16 * drift(self.seed, "exposure", second, 45)
        light = np.float32(diffuse * steady) * tint * np.ones((1, 1, 3), np.float32)
        if weather.sun > 0.02:
            open_sky = self._shadows(second // _QUARTER) * self._sky(second)
            light = light + np.float32(0.55 * weather.sun * steady) * open_sky[..., None]
        if weather.day < 0.6:
            light = light + self.lamp_light * np.float32(min(1.0, 1.5 * (0.6 - weather.day)))
        return light

    def _sky(self, second: int) -> np.ndarray:
        """Where clouds let the sun through, float32 (h, w)."""
        ground = self.scene.ground
        moved = np.roll(self._clouds, (second // 40) % 64, 1)[:, :9]
        share = second / 40 % 1
        moved = moved * (1 - share) + np.roll(self._clouds, (second // 40 + 1) % 64, 1)[:, :9] * share
        clouds = Image.fromarray(np.float32(moved)).resize((ground.width, ground.height), Image.Resampling.BILINEAR)
        return np.clip(2.2 - 2.5 * np.asarray(clouds), 0.25, 1)

    def _draw_shadows(self, quarter: int) -> np.ndarray:
        """1 in the sun, 0.35 in the shadow of what stands in the street, float32 (h, w)."""
        ground = self.scene.ground
        hour = (quarter + 0.5) * _QUARTER % DAY / 3600
        mask = Image.new("L", (ground.width, ground.height))
        lean = (hour - self.noon) / self.daylight * 5
        for prop in self.scene.props:
            column, row, scale = (float(value) for value in ground.project(prop.place))
            width, length = prop.sprite.width * scale, prop.sprite.height * scale * (0.25 + 0.2 * abs(lean))
            if width < 1 or length < 1 or not -width < row < ground.height + length:
                continue
            size = max(1, round(width + abs(lean) * length)), max(1, round(length))
            shape = prop.sprite.image.getchannel("A").resize((max(1, round(width)), size[1]))
            slope = lean * length / size[1]
            start = 0.0 if lean < 0 else -lean * length
            sheared = shape.transform(size, Image.Transform.AFFINE, (1, slope, start, 0, 1, 0))
            left = column - width / 2 - (abs(lean) * length if lean < 0 else 0)
            mask.paste(255, (round(left), round(row - length)), sheared)
        return 1 - np.float32(0.65) * blurred(mask, 1.0)

    def _pools(self, random: np.random.Generator) -> np.ndarray:
        """The light of the street lamps on the ground, float32 (h, w, 3)."""
        ground = self.scene.ground
        colour = np.array(((1.0, 0.72, 0.36), (0.9, 0.95, 1.0), (1.0, 0.85, 0.6))[random.integers(3)], np.float32)
        rows, columns = np.mgrid[: ground.height, : ground.width].astype(np.float32)
        light = np.zeros((ground.height, ground.width), np.float32)
        for place in self.scene.lamps:
            column, row, scale = (float(value) for value in ground.project(place))
            far = ((columns - column) / (5 * scale)) ** 2 + ((rows - row) / (2.2 * scale)) ** 2
            light += np.exp(-far)
        return np.minimum(light, 1.3)[..., None] * colour

    def _make_streaks(self, random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Falling rain, float32 (h + 64, w + 64) in [0, 1]."""
        drops = (random.random(shape) < 0.006).astype(np.float32)
        streaks = sum((np.roll(drops, (step, step // 3), (0, 1)) for step in range(7)), np.zeros_like(drops))
        return np.minimum(streaks, 1.0)

    def _veil(self, picture: np.ndarray, weather: Weather) -> None:
        """Fog and haze, denser with depth, in place."""
        thickness = 0.002 + 0.05 * weather.fog + 0.012 * weather.rain
        if thickness > 0.003:
            through = np.exp(-thickness * np.minimum(self.scene.depth, 120))[:, None, None].astype(np.float32)
            picture *= through
            picture += (1 - through) * np.float32(0.1 + 0.55 * weather.day)

    def _sense(self, picture: np.ndarray, weather: Weather, second: int) -> np.ndarray:
        """Colour, contrast and grain of the sensor, in place, and 8 bits."""
        random = np.random.default_rng(seed_of(self.seed, "sensor", second))
        top, left = random.integers(0, 64, 2)
        window = slice(top, top + picture.shape[0]), slice(left, left + picture.shape[1])
        grey = (picture @ _GREY)[..., None]
        night = 1 - weather.day
        if self.infrared and night > 0.8:
            picture = np.broadcast_to(grey * np.float32(1.3), picture.shape).copy()
        else:
            picture -= grey
            picture *= self.cast * np.float32(self.saturation * (1 - 0.5 * night))
            picture += grey * self.cast
        picture -= np.float32(0.4)
        picture *= np.float32(255 * self.contrast)
        picture += np.float32(0.4 * 255)
        strength = self.grain[0] * weather.day + self.grain[1] * night
        picture += self._noise[window] * np.float32(strength)
        if weather.rain > 0.05:
            picture += self._streaks[window][..., None] * np.float32(60 * min(1.0, weather.rain))
        return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
