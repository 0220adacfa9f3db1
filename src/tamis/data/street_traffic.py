"""Who is in a generated street at a second: arrivals with rush hours and empty nights, each a pure function of time."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tamis.data.street_scene import Route
from tamis.moment import seed_of

DAY = 86_400
_BLOCK = 600  # seconds whose arrivals are drawn together; nobody needs longer to pass
_HEADWAY = 2.2  # seconds between two cars of a lane where they enter
_MOST = 200
LOOKS = 24


class Passing(NamedTuple):
    """Somebody who moves along a route, or stands on one.

    Attributes:
        route: position in the list of routes.
        along: metres from the route's start, in its direction.
        right: metres to the right of the route.
        look: position in the list of the kind's looks.
        step: of the walk; 0 for a car.
    """

    route: int
    along: float
    right: float
    look: int
    step: int


class Traffic:
    """The timetable of a street.

    Args:
        seed: of the street.
        routes: that are driven and walked along.
        standing: places to park or to wait at.
        looks: how many kinds of cars and of people there are; each has hours at which it is common.
    """

    def __init__(self, seed: int, routes: tuple[Route, ...], standing: tuple[Route, ...]) -> None:
        random = np.random.default_rng(seed_of(seed, "street traffic"))
        self.seed, self.routes, self.standing = seed, routes, standing
        self.cars, self.people = _Busy.of(random, car=True), _Busy.of(random, car=False)
        self.speeds = [random.uniform(6, 14) if route.car else random.uniform(1.0, 1.6) for route in routes]
        self.crowd_at = random.uniform(8, 21)
        self._arrivals = lru_cache(maxsize=64)(self._draw_arrivals)
        self._stays = lru_cache(maxsize=64)(self._draw_stays)

    def at(self, second: int) -> list[Passing]:
        """Everybody at a second since the first midnight."""
        block = second // _BLOCK
        rows = np.concatenate((self._arrivals(block - 1), self._arrivals(block)))
        rows = rows[(rows[:, 0] <= second) & (second < rows[:, 1])][:_MOST]
        passing = [
            Passing(int(route), (second - start) * speed - behind, right, int(look), int(second * 1.7 + phase))
            for start, _, route, speed, behind, right, look, phase in rows.tolist()
        ]
        stays = self._stays(second // DAY)
        for route, _, _, look in stays[(stays[:, 1] <= second) & (second < stays[:, 2])].tolist():
            passing.append(Passing(len(self.routes) + int(route), 0.0, 0.0, int(look), 0))
        return passing

    def _draw_arrivals(self, block: int) -> np.ndarray:
        """(n, 8): from, until, route, speed, metres behind, metres right, look, phase of the step."""
        random = np.random.default_rng(seed_of(self.seed, "street arrivals", block))
        middle = (block + 0.5) * _BLOCK
        hour, day = middle % DAY / 3600, int(middle // DAY)
        found = [np.zeros((0, 8))]
        for number, route in enumerate(self.routes):
            busy = self.cars if route.car else self.people
            rate = busy.rate(hour, day)
            if not route.car and abs(hour - self.crowd_at) < 0.2:
                rate = max(8 * rate, 0.08)
            pace = 1.0
            if route.car and random.random() < 0.3 * rate / busy.most:
                pace, rate = random.uniform(0.15, 0.5), 1.5 * rate  # a jam
            starts = block * _BLOCK + np.sort(random.uniform(0, _BLOCK, random.poisson(rate * _BLOCK)))
            if route.car:
                gaps = np.arange(len(starts)) * _HEADWAY / pace
                starts = np.maximum.accumulate(starts - gaps) + gaps if len(starts) else starts
            else:  # people come alone or in groups
                starts = np.repeat(starts, np.minimum(random.geometric(0.6, len(starts)), 4))
            count = len(starts)
            speed = self.speeds[number] * pace * np.clip(random.normal(1, 0.06 if route.car else 0.03, count), 0.7, 1.4)
            behind = np.zeros(count) if route.car else random.uniform(0, 2.5, count)
            right = random.normal(0, 0.15 if route.car else 0.45, count)
            columns = (
                starts,
                starts + (route.length + behind) / speed,
                np.full(count, number),
                speed,
                behind,
                right,
                busy.looks(random, hour, count),
                random.integers(0, 4, count),
            )
            found.append(np.stack(columns, 1).astype(np.float64))
        return np.concatenate(found)

    def _draw_stays(self, day: int) -> np.ndarray:
        """(n, 4): place, from, until, look."""
        random = np.random.default_rng(seed_of(self.seed, "street stays", day))
        rows = [np.zeros((0, 4))]
        for number, place in enumerate(self.standing):
            busy, length = (self.cars, 5400.0) if place.car else (self.people, 240.0)
            at = 0.0
            while at < DAY:
                hour = at / 3600
                free = random.exponential(
                    length * (0.6 if place.car else 3) * min(busy.most / busy.rate(hour, day), 40)
                )
                stay = random.exponential(length)
                look = busy.looks(random, (at + free) / 3600 % 24, 1)[0]
                rows.append(np.array([[number, day * DAY + at + free, day * DAY + at + free + stay, look]]))
                at += free + stay
        return np.concatenate(rows)


class _Busy(NamedTuple):
    """How many arrive in a second on each route at each hour, and which looks they have."""

    most: float
    night: float
    peaks: tuple[tuple[float, float, float], ...]  # hour, hours wide, height
    plateau: float
    common: tuple[tuple[float, float], ...]  # the hour at which each look is common, and how common it is then

    @staticmethod
    def of(random: np.random.Generator, *, car: bool) -> "_Busy":
        most = random.uniform(0.07, 0.22) if car else random.uniform(0.012, 0.045)
        peaks = (
            (random.uniform(7, 9.5), random.uniform(0.5, 1.2), random.uniform(0.5, 1)),
            (random.uniform(16, 19), random.uniform(0.7, 1.8), random.uniform(0.5, 1)),
        )
        common = [(random.uniform(6, 23), random.choice((0.2, 1.0, 3.0))) for _ in range(LOOKS)]
        return _Busy(most, random.uniform(0.001, 0.01), peaks, random.uniform(0.05, 0.3), tuple(common))

    def rate(self, hour: float, day: int) -> float:
        waking = 1 / (1 + math.exp(-3 * (hour - 6))) / (1 + math.exp(2 * (hour - 21.5)))
        height = self.plateau + sum(top * math.exp(-(((hour - at) / wide) ** 2)) for at, wide, top in self.peaks)
        return self.most * (self.night + min(height, 1.0) * waking * (0.5 if day % 7 > 4 else 1.0))

    def looks(self, random: np.random.Generator, hour: float, count: int) -> np.ndarray:
        weights = np.array([0.03 + w * math.exp(-((((hour - at + 12) % 24 - 12) / 2.5) ** 2)) for at, w in self.common])
        return random.choice(LOOKS, count, p=weights / weights.sum())


def drift(seed: int, name: str, second: float, period: float) -> float:
    """A smooth random function of time in [0, 1], with one knot every `period` seconds."""
    knot, share = divmod(second / period, 1)
    first, second_ = (seed_of(seed, name, int(knot) + i) / 2**63 for i in (0, 1))
    return first + (second_ - first) * share * share * (3 - 2 * share)
