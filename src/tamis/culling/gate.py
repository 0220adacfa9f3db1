"""Stage 0, beyond the paper: does a frame of a fixed camera hold anything new? Told from a small grey picture of it.

The background is a running median of every cell, and beside it how much the cell usually strays from it: sigma-delta
estimation (Manzanera and Richefeu, ICVGIP 2004), which needs additions of whole numbers and nothing else. So the state
is exact, goes through a file unchanged, and the gate decides the same after a restart.
"""

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.int16]

# What the gate says of a frame; those from PASSED on go to the student.
SAME_AS_BACKGROUND, SAME_AS_SCORED, CHANGED, LEARNING, LONG_AGO = range(5)
PASSED = CHANGED
REASONS = (
    "nothing there but the background",
    "nothing new since the last frame that was scored",
    "something new",
    "the background is being learned",
    "none was scored for long",
)
_UNIT = 64  # the state counts in 64ths of a grey level
_LIMIT = 255 * _UNIT  # fits int16, as does the difference of two
_SCENE = 0.5  # share of the cells that differ when the camera itself was moved, or replaced


@dataclass(frozen=True)
class Gate:
    """Settings of the gate: grey levels (0 to 255), frames, cells of the small picture; whatever the camera's size.

    Attributes:
        threshold: how far the four cells of a 2 x 2 window must go beyond what is usual there, together.
        floor: smallest departure from the background that counts as unusual in a cell.
        ceiling: a cell that always strays (a tree, water) never needs to depart further than this to be noticed.
        pace: levels by which the background may follow the picture in a frame: what stands still turns into background
            after as many frames as it differs by levels, divided by this.
        learning: frames at the start, and after the camera was moved, that all pass.
        longest: at least one of so many frames passes.
        width: of the small picture.
        height: of the small picture.

    Raises:
        ValueError: a setting out of its range.
    """

    threshold: float = 8.0
    floor: float = 4.0
    ceiling: float = 24.0
    pace: float = 1.0
    learning: int = 16
    longest: int = 64
    width: int = 64
    height: int = 36

    def __post_init__(self) -> None:
        for name in ("learning", "longest", "width", "height"):
            if getattr(self, name) < (2 if name in ("width", "height") else 1):
                raise ValueError(f"{name} of the gate must be a number of frames or cells, got {getattr(self, name)!r}")
        if not 0 < self.floor <= self.ceiling <= 255:
            raise ValueError(f"floor must be in (0, ceiling] and ceiling at most 255, got {self.floor}, {self.ceiling}")
        for name in ("threshold", "pace"):
            if not 1 / _UNIT <= getattr(self, name) <= 255:
                raise ValueError(f"{name} of the gate must be from 1/{_UNIT} to 255, got {getattr(self, name)!r}")


class ChangeGate:
    """Looks at the frames of a camera one after the other; skips those that hold nothing new.

    A cell is *new* where it differs both from the background and from the last frame that passed: a car that waits was
    scored when it came, a car that left shows the background. The median difference over the picture is taken off
    first, so that light that changes everywhere (clouds, exposure) is no change.
    """

    def __init__(self, settings: Gate) -> None:
        """Begin with the first frame that comes."""
        self.settings = settings
        shape = (settings.height, settings.width)
        self._background: Levels = np.zeros(shape, np.int16)
        self._spread: Levels = np.zeros(shape, np.int16)
        self._scored: Levels = np.zeros(shape, np.int16)
        self._seen = self._since = 0  # frames since the scene began, and since the last one that passed
        low, high = round(settings.floor * _UNIT), round(settings.ceiling * _UNIT)
        self._low, self._high = np.int16(low), np.int16(high)

    def __call__(self, grey: Grey) -> tuple[float, int]:
        """How much is new on a frame, and what comes of it.

        Args:
            grey: uint8 (height, width), the small picture.

        Returns:
            Grey levels beyond what is usual, at least 0, summed over the most striking 2 x 2 cells; and the position in
            `REASONS`, from `PASSED` on if the frame is to be scored.
        """
        if grey.shape != self._background.shape:
            raise ValueError(f"grey must be {self._background.shape} as the gate's settings say, got {grey.shape}")
        levels = grey.astype(np.int16) * np.int16(_UNIT)
        if not self._seen:
            self._begin(levels)
        away = _without_offset(levels, self._background)
        unlike = _beyond(away, self._spread)
        if self._seen >= self.settings.learning and np.count_nonzero(unlike) > _SCENE * unlike.size:
            self._begin(levels)
            away = unlike = np.zeros_like(levels)
        # Two pictures stray from each other by more than one from the background.
        usual = self._spread + self._spread // np.int16(2)
        fresh = np.minimum(unlike, _beyond(_without_offset(levels, self._scored), usual))
        change, there = _most_striking(fresh), _most_striking(unlike)
        reason = self._reason(change, there)
        self._learn(levels, away)
        self._seen, self._since = self._seen + 1, self._since + 1
        if reason >= PASSED:
            self._scored, self._since = levels, 0
        return change, reason

    def _begin(self, levels: Levels) -> None:
        self._background, self._scored = levels.copy(), levels
        self._spread = np.full_like(levels, self._low)
        self._seen = 0

    def _reason(self, change: float, there: float) -> int:
        if self._seen < self.settings.learning:
            return LEARNING
        if change > self.settings.threshold:
            return CHANGED
        if self._since + 1 >= self.settings.longest:
            return LONG_AGO
        return SAME_AS_SCORED if there > self.settings.threshold else SAME_AS_BACKGROUND

    def _learn(self, levels: Levels, away: Levels) -> None:
        """Move the background one step towards the frame, and the spread towards four times what it strays."""
        # Big steps at first: the first frame is a poor guess, with whatever stood before the camera.
        step = max(round(self.settings.pace * _UNIT), 16 * _UNIT // (self._seen + 1))
        gap = levels - self._background
        self._background += np.clip(gap, -step, step)
        stray = np.minimum(np.abs(away), _LIMIT // 4) * np.int16(4) - self._spread
        self._spread = np.clip(self._spread + np.clip(stray, -step, step), self._low, self._high)

    def state(self) -> str:
        """Everything that the next decision depends on, as a text."""
        arrays = np.stack([self._background, self._spread, self._scored]).astype("<i2")
        packed = base64.b64encode(zlib.compress(arrays.tobytes(), 1)).decode()
        return f"{self._seen}:{self._since}:{packed}"

    def load(self, state: str) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is no such text, or of another size of picture.
        """
        try:
            seen, since, packed = state.split(":")
            raw = np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), "<i2").astype(np.int16)
            self._background, self._spread, self._scored = raw.reshape(3, *self._background.shape).copy()
            self._seen, self._since = int(seen), int(since)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"state of the gate must be as it was written, got {state[:40]!r}; cull anew") from error


def _without_offset(levels: Levels, reference: Levels) -> Levels:
    """The difference to a reference, less its median: what changed other than the light."""
    gap = levels - reference
    middle = gap.size // 2
    return gap - np.partition(gap, middle, axis=None)[middle]


def _beyond(away: Levels, usual: Levels) -> Levels:
    return np.maximum(np.abs(away) - usual, 0)


def _most_striking(excess: Levels) -> float:
    """The largest sum of any 2 x 2 cells, in grey levels."""
    wide = excess.astype(np.int32)
    rows = wide[1:] + wide[:-1]
    return float((rows[:, 1:] + rows[:, :-1]).max()) / _UNIT
