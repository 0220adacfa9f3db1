"""What a cull costs, stage by stage, and what training on everything would have (Table 1 of the paper)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STAGES = ("decode", "gate", "student prediction", "teacher prediction", "student training")


@dataclass(frozen=True)
class Cost:
    """Of one stage.

    Attributes:
        stage: one of `STAGES`.
        images: how many went through it; in training, once for each epoch.
        seconds: wall time that was spent on it, waiting included.
        flops: floating-point operations in all; None = unknown.
        measured: whether it was done, or is extrapolated from the cost of an image.
    """

    stage: str
    images: int
    seconds: float
    flops: int | None
    measured: bool = True


class Spent:
    """Images, seconds and operations by stage, added up over the batches."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.images: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self._flops: dict[str, int | None] = {}

    def add(self, seconds: Mapping[str, float], images: Mapping[str, int], flops: Mapping[str, int | None]) -> None:
        """Take a batch in.

        Args:
            seconds: by stage.
            images: by stage.
            flops: of one image, by stage; None = unknown, which makes the sum unknown.
        """
        self.seconds.update(seconds)
        self.images.update(images)
        for stage, count in images.items():
            each = flops.get(stage)
            before = self._flops.get(stage, 0)
            self._flops[stage] = None if (each is None and count) or before is None else before + (each or 0) * count

    def costs(self) -> list[Cost]:
        """In the order of `STAGES`."""
        return [
            Cost(stage, self.images[stage], self.seconds[stage], self._flops.get(stage))
            for stage in STAGES
            if self.images[stage] or self.seconds[stage]
        ]


@dataclass(frozen=True)
class Step:
    """What training on one image costs, once.

    Attributes:
        seconds: measured.
        flops: forward and backward; None = unknown.
        epochs: of the training that is reckoned with.
    """

    seconds: float
    flops: int | None
    epochs: int

    def cost(self, images: int) -> Cost:
        """Of all epochs over so many images."""
        visits = images * self.epochs
        flops = None if self.flops is None else self.flops * visits
        return Cost("student training", visits, self.seconds * visits, flops, measured=False)


def everything(spent: list[Cost], frames: int, training: Step | None) -> list[Cost]:
    """What it takes to label every frame by the teacher and train on all of them, from the costs of single images.

    Args:
        spent: what the cull took.
        frames: how many there are.
        training: None = unknown, left out.
    """
    by_stage = {cost.stage: cost for cost in spent}
    full = [_extrapolated(by_stage[stage], frames) for stage in ("decode", "teacher prediction") if stage in by_stage]
    return full + ([] if training is None else [training.cost(frames)])


def _extrapolated(cost: Cost, frames: int) -> Cost:
    if cost.images in (0, frames):
        return cost
    flops = None if cost.flops is None else cost.flops * frames // cost.images
    return Cost(cost.stage, frames, cost.seconds * frames / cost.images, flops, measured=False)


def factor(full: list[Cost], culled: list[Cost]) -> dict[str, float | None]:
    """How many times less the cull costs: in seconds, and in operations (decoding and the gate have none)."""
    seconds = sum(cost.seconds for cost in culled)
    flops = [[cost.flops for cost in costs if cost.stage not in ("decode", "gate")] for costs in (full, culled)]
    known = all(None not in each for each in flops)
    sums = [sum(each for each in side if each is not None) for side in flops]
    return {
        "seconds": sum(cost.seconds for cost in full) / seconds if seconds else None,
        "flops": sums[0] / sums[1] if known and sums[1] else None,
    }


def as_json(spent: list[Cost], full: list[Cost]) -> dict[str, Any]:
    """What result.json says of costs; without the training on both sides there is no factor between them."""
    whole = all(any(cost.stage == STAGES[-1] for cost in costs) for costs in (spent, full))
    return {
        "costs": [vars(cost) for cost in spent],
        "full": [vars(cost) for cost in full],
        "factor": factor(full, spent) if whole else {"seconds": None, "flops": None},
    }
