"""The stages of a cull as they are told to people, counted and stopped; each goes on where an earlier process was."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tamis.culling.costs import Spent
from tamis.culling.gate import PASSED, ChangeGate, Gate
from tamis.culling.journal import Journal
from tamis.culling.judge import Judged, count_bad, judge, read_judged, rounds_of
from tamis.culling.protocols import Frames
from tamis.culling.records import Records
from tamis.culling.scan import Scan, Score, scan
from tamis.culling.select import evenly
from tamis.data.frames import FrameRef
from tamis.fit import Stopped
from tamis.recipes.cull_config import LEVELS, PROBED, CullConfig
from tamis.recipes.cull_detectors import Detectors, loss_of
from tamis.recipes.cull_doubt import level_of

_ROUND = 8  # batches of the teacher between two looks at the clock, where its budget is a time


@dataclass
class Stages:
    """A cull at work: what its journal knows is taken over, the rest is done.

    Attributes:
        config, console, frames, detectors, journal: of the cull; a level of confidence that was looked for is in the
            configuration as soon as it is found.
        stop: tells the number of a signal that came, 0 if none.
    """

    config: CullConfig
    console: Console
    frames: Frames
    detectors: Detectors
    journal: Journal
    stop: Callable[[], int] = lambda: 0

    def __post_init__(self) -> None:
        self.records, self.spent = Records(), Spent()
        self.judged: dict[int, Judged] = {}
        self.probed: dict[int, Judged] = {}
        self.level: dict[str, Any] | None = None
        for line in self.journal.of("scan"):
            self.records.add(line)
            self._count_scan(line)
        for line in self.journal.of("probe"):
            self._take_judged(line, self.probed)
            count_bad(line, self.records)
        for line in self.journal.of("level"):
            self._settle(line["found"])
        for line in self.journal.of("judge"):
            self._take_judged(line, self.judged)
            count_bad(line, self.records)

    def scan(self) -> None:
        """Stages 0 and 1."""
        if any(self.journal.of("scanned")):
            return
        gate = None
        if self.config.gated:
            gate = ChangeGate(Gate(threshold=self.config.gate_threshold, longest=self.config.max_gap))
            for line in list(self.journal.of("scan"))[-1:]:
                gate.load(line["gate"])
        student = self.detectors.student if self.config.scored else None
        loss, classes = loss_of(self.config), len(self.detectors.class_names)
        score: Score = (lambda found: loss.by_class(found, classes)) if self.config.per_class else loss
        if self.config.probed:
            losses = [replace(loss, min_confidence=level) for level in LEVELS]
            score = lambda found: torch.stack([each(found) for each in losses], 1)  # noqa: E731
        plan = Scan(gate, student, score, self.config.batch_size, self.config.scan_scale, self.stop)
        after = FrameRef(*self.records.ref(len(self.records) - 1)) if len(self.records) else None
        if after is not None:
            self.console.print(f"going on after {len(self.records):,} frames")
        with self.bar("looking at frames", self.frames.expected, len(self.records)) as tick:
            for line in scan(self.frames, after, plan, self.records, self.journal):
                self._count_scan(line)
                tick(len(line["key"]))
                self.hold()
        self.hold()
        if not len(self.records):
            named = ", ".join(map(str, self.config.sources))
            raise ValueError(f"sources must hold at least one frame, got none in {named}; look at the files")
        self.journal.append("scanned", frames=len(self.records))

    def _count_scan(self, line: dict[str, Any]) -> None:
        frames, passed = len(line["key"]), sum(reason >= PASSED for reason in line["reason"])
        images = {"decode": frames, "gate": frames if self.config.gated else 0}
        if self.config.scored:
            images["student prediction"] = passed
        flops = {}
        if passed and line["size"]:
            flops["student prediction"] = self.detectors.flops("student", line["size"][1], line["size"][0])
        self.spent.add(line["spent"], images, flops)

    def probe(self) -> None:
        """Ask the teacher about a few frames, from which confidence on the student is to be believed."""
        if not self.config.probed:
            return
        pool = self.records.passed
        positions = pool[evenly(len(pool), min(PROBED, len(pool)))].tolist()
        last = next(reversed(self.probed), None)
        with self.bar("asking the teacher how sure is sure", len(positions), len(self.probed)) as tick:
            for left in _after([positions], last):
                for line in self._shown(left, "probe"):
                    self._take_judged(line, self.probed)
                    tick(len(line["position"]))
                    self.hold()
        found = level_of(list(self.probed.values()), self.config)
        self.journal.append("level", found=found)
        self._settle(found)
        self.console.print(found["text"])

    def _settle(self, found: dict[str, Any]) -> None:
        self.level, self.config = found, replace(self.config, min_confidence=found["level"])

    def _shown(self, positions: list[int], kind: str) -> Generator[dict[str, Any], None, None]:
        """Frames shown to teacher and student, in the order of the film."""
        refs = [FrameRef(*self.records.ref(place)) for place in positions]
        detectors, size = (self.detectors.teacher, self.detectors.student), self.config.teacher_batch_size
        with closing(judge(self.frames, refs, positions, detectors, size, self.records, self.journal, kind)) as lines:
            yield from lines

    def judge(self, survivors: list[int]) -> None:
        """Stage 2."""
        if any(self.journal.of("judged")):
            return
        _, budget = self.config.budget
        size = self.config.teacher_batch_size
        last = next(reversed(self.judged), None)
        with self.bar("asking the teacher", len(survivors), len(self.judged)) as tick:
            for positions in _after(rounds_of(survivors, None if budget is None else _ROUND * size), last):
                with closing(self._shown(positions, "judge")) as lines:
                    for line in lines:
                        self._take_judged(line, self.judged)
                        tick(len(line["position"]))
                        self.hold()
                        if self._is_spent(budget):
                            break
                if self._is_spent(budget):
                    break
        self.journal.append("judged", frames=len(self.judged))

    def _is_spent(self, budget: float | None) -> bool:
        return budget is not None and self.spent.seconds["teacher prediction"] >= budget

    def _take_judged(self, line: dict[str, Any], into: dict[int, Judged]) -> None:
        into.update(read_judged(line))
        width, height = line["size"]
        count = len(line["position"])
        asked = [f"{who} prediction" for who in ("teacher", "student") if line[who] is not None]
        flops = {name: self.detectors.flops(name.split()[0], height, width) for name in asked}
        self.spent.add(line["spent"], dict.fromkeys(asked, count), flops)

    def hold(self) -> None:
        """End here, with everything on the disk, if a signal came."""
        if self.stop():
            self.journal.flush()
            raise Stopped(self.stop())

    @contextmanager
    def bar(self, name: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """A bar with frames a second and the time that is left; on no terminal, one line."""
        if not self.console.is_terminal:
            self.console.print(f"{name}: {total:,}" + (f", {done:,} done before" if done else ""))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        hidden = not self.console.is_terminal
        with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True, disable=hidden) as bars:
            task = bars.add_task(name, total=max(total, done), completed=done, pace="")

            def tick(count: int) -> None:
                bars.advance(task, count)
                speed = bars.tasks[0].speed
                bars.update(task, pace="" if speed is None else f"{speed:,.0f} frames/s")

            yield tick


def _after(rounds: list[list[int]], last: int | None) -> Iterable[list[int]]:
    """The rounds, or what is left of them after the position that was judged last."""
    if last is None:
        return rounds
    current = next((place for place, each in enumerate(rounds) if last in each), len(rounds))
    left = [position for position in rounds[current] if position > last] if current < len(rounds) else []
    return [each for each in (left, *rounds[current + 1 :]) if each]
