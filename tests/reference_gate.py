"""The change gate cell by cell in plain Python, from what docs/methods/dataset_culling.md says of it."""

from collections.abc import Sequence
from fractions import Fraction

Picture = Sequence[Sequence[int]]


class SlowGate:
    """Grey levels are whole 64ths, kept as Python integers."""

    def __init__(
        self, threshold: float, floor: float, ceiling: float, pace: float, learning: int, longest: int
    ) -> None:
        self.threshold, self.learning, self.longest = Fraction(threshold), learning, longest
        self.floor, self.ceiling, self.pace = (round(64 * each) for each in (floor, ceiling, pace))
        self.seen = self.since = 0
        self.background: list[list[int]] = []
        self.spread: list[list[int]] = []
        self.scored: list[list[int]] = []

    def __call__(self, picture: Picture) -> tuple[float, str]:
        rows, columns = range(len(picture)), range(len(picture[0]))
        now = [[64 * level for level in row] for row in picture]
        if self.seen == 0:
            self._begin(now)
        away = self._gap(now, self.background)
        unlike = [[max(0, abs(away[y][x]) - self.spread[y][x]) for x in columns] for y in rows]
        differing = sum(each > 0 for row in unlike for each in row)
        if self.seen >= self.learning and 2 * differing > len(rows) * len(columns):
            self._begin(now)
            away = unlike = [[0 for _ in columns] for _ in rows]
        moved = self._gap(now, self.scored)
        fresh = [
            [min(unlike[y][x], max(0, abs(moved[y][x]) - self.spread[y][x] - self.spread[y][x] // 2)) for x in columns]
            for y in rows
        ]
        change, there = self._most(fresh), self._most(unlike)
        if self.seen < self.learning:
            reason = "the background is being learned"
        elif change > self.threshold:
            reason = "something new"
        elif self.since + 1 >= self.longest:
            reason = "none was scored for long"
        elif there > self.threshold:
            reason = "nothing new since the last frame that was scored"
        else:
            reason = "nothing there but the background"
        self._learn(now, away)
        self.seen, self.since = self.seen + 1, self.since + 1
        if not reason.startswith("nothing"):
            self.scored, self.since = now, 0
        return float(change), reason

    def _begin(self, now: list[list[int]]) -> None:
        self.background = [list(row) for row in now]
        self.scored = now
        self.spread = [[self.floor for _ in row] for row in now]
        self.seen = 0

    @staticmethod
    def _gap(now: list[list[int]], other: list[list[int]]) -> list[list[int]]:
        gaps = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(now, other, strict=True)]
        inorder = sorted(gap for row in gaps for gap in row)
        median = inorder[len(inorder) // 2]
        return [[gap - median for gap in row] for row in gaps]

    @staticmethod
    def _most(excess: list[list[int]]) -> Fraction:
        sums = [
            excess[y][x] + excess[y + 1][x] + excess[y][x + 1] + excess[y + 1][x + 1]
            for y in range(len(excess) - 1)
            for x in range(len(excess[0]) - 1)
        ]
        return Fraction(max(sums), 64)

    def _learn(self, now: list[list[int]], away: list[list[int]]) -> None:
        step = max(self.pace, 16 * 64 // (self.seen + 1))
        for y, row in enumerate(now):
            for x, level in enumerate(row):
                self.background[y][x] += max(-step, min(step, level - self.background[y][x]))
                wanted = min(4 * abs(away[y][x]), 4 * (255 * 64 // 4))
                moved = self.spread[y][x] + max(-step, min(step, wanted - self.spread[y][x]))
                self.spread[y][x] = max(self.floor, min(self.ceiling, moved))
