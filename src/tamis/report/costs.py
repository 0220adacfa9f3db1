"""What a training was fed, and what it took, with the scores that it needed."""

import math
from typing import NamedTuple

from tamis.report.records import Record


class Costs(NamedTuple):
    """Of one run, so far.

    Attributes:
        own: samples that the training was fed, each time that it was.
        scorer: samples that a scorer of its own was fed.
        scored: samples that were scored: seen forward only.
        full: what a training on everything would have been fed; NaN where it is not known.
        seconds: of training.
        scoring_seconds: of training the scorer and of scoring.
    """

    own: int
    scorer: int
    scored: int
    full: float
    seconds: float
    scoring_seconds: float

    @property
    def fed(self) -> int:
        """Samples that were trained on, the scorer's too."""
        return self.own + self.scorer

    @property
    def all_seconds(self) -> float:
        """Training, and all that the scores took."""
        return self.seconds + self.scoring_seconds


def costs_of(record: Record) -> Costs:
    """The costs of a finished run, or of one so far."""
    told, row = (record.result or {}).get("costs") or {}, record.metrics[-1]
    scorer = told.get("scorer") or (record.curriculum.cost if record.curriculum else {})
    return Costs(
        own=int(told.get("samples_seen", row.get("samples_seen")) or 0),
        scorer=int(scorer.get("samples_seen") or 0),
        scored=int(scorer.get("samples_scored") or 0) + int(told.get("samples_scored") or 0),
        full=float(told.get("full_samples") or math.nan),
        seconds=float(told.get("seconds_training") or row.get("seconds") or math.nan),
        scoring_seconds=float(scorer.get("seconds") or 0) + float(told.get("seconds_scoring") or 0),
    )
