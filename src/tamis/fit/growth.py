"""The state of a checkpoint, for data that has changed since it was written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Rows as they were, and where a row starts -> rows as they are now.
Move = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class Changes:
    """The changes of the data that a run has accepted so far.

    Attributes:
        count: how many.
        since: int32 (n,), the change that a sample came in with or was edited by last; 0 = it is as at the start.
        boxes: of a change, from 1: int64 (m,), the row that every box after it had before it, -1 = it is new; None
            where samples have no boxes.
    """

    count: int
    since: Tensor
    boxes: Callable[[int], Tensor] | None = None


def grown(state: dict[str, Any], changes: Changes, log_sigma: float = 0.0) -> dict[str, Any]:
    """Take out of a state what changes after it have made untrue, and make room for new samples.

    The score of a sample that is new or another is NaN and its visits are 0, log sigma is where every sample (or new
    box) starts, with no momentum; those of all other boxes go to the rows that are theirs now. An epoch that was begun
    begins again, with the weights as they are. All else is as it was; nothing is written to.

    Args:
        state: what `fit` saves, of m samples, with the number of "changes" by then.
        changes: of n samples, n >= m.
        log_sigma: that every sample starts with.

    Raises:
        ValueError: the state knows of more samples or more changes, or does not know a sample that is no new one.
    """
    known, before = len(state["ledger"]["score"]), state.get("changes", 0)
    fresh = changes.since > before
    if known > len(fresh) or before > changes.count or not fresh[known:].all():
        raise ValueError(
            f"checkpoint must be of these {len(fresh)} samples after at most {changes.count} changes, got one of "
            f"{known} after {before}; ledger/samples.parquet is of another run"
        )
    if before == changes.count:
        return state
    ledger = state["ledger"]
    ledger = ledger | {"score": _rows(ledger["score"], fresh, torch.nan), "seen": _rows(ledger["seen"], fresh, 0)}
    stepper = state["stepper"]
    if "log_sigma_instance" in stepper.get("temperature", {}):
        stepper = _stepper(stepper, _mover(changes, before, fresh), log_sigma)
    anew = {"place": 0, "sampler": None, "observer": None, "changes": changes.count}
    return state | {"ledger": ledger, "stepper": stepper} | anew


def _rows(values: Tensor, fresh: Tensor, start: float) -> Tensor:
    rows = values.new_full((len(fresh),), start)
    rows[: len(values)] = values
    rows[fresh.to(rows.device)] = start
    return rows


def _mover(changes: Changes, before: int, fresh: Tensor) -> Move:
    if changes.boxes is None:
        return lambda rows, start: _rows(rows, fresh, start)
    row = _composed([changes.boxes(number) for number in range(before + 1, changes.count + 1)])
    return lambda rows, start: _taken(rows, row, start)


def _taken(values: Tensor, before: Tensor, start: float) -> Tensor:
    """The values that rows had before, int64 (m,), -1 = a new one: it has the start."""
    before = before.to(values.device)
    found = values.new_full((len(before),), start)
    known = before >= 0
    found[known] = values[before[known]]
    return found


def _composed(changes: list[Tensor]) -> Tensor:
    """The rows before the first of several changes, of those after the last."""
    found = changes[-1]
    for earlier in changes[-2::-1]:
        known = found >= 0
        found = found.clone()
        found[known] = earlier[found[known]]
    return found


def _stepper(state: dict[str, Any], moved: Move, log_sigma: float) -> dict[str, Any]:
    """The state of the stepper, with instance rows (or their momentum) that are `moved` and begun anew."""
    tables = state["temperature"]
    optimizer = state["rows_optimizer"]
    place = optimizer["param_groups"][-1]["params"][0]  # the group of the instances comes last
    memory = dict(optimizer["state"])
    if place in memory:  # not before its first step
        memory[place] = memory[place] | {"momentum": moved(memory[place]["momentum"], 0.0)}
    return state | {
        "temperature": tables | {"log_sigma_instance": moved(tables["log_sigma_instance"], log_sigma)},
        "rows_optimizer": optimizer | {"state": memory},
    }
