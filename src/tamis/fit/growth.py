"""The state of a checkpoint, for data that has changed since it was written."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Changes:
    """The changes of the data that a run has accepted so far.

    Attributes:
        count: how many.
        since: int32 (n,), the change that a sample came in with or was edited by last; 0 = it is as at the start.
    """

    count: int
    since: Tensor


def grown(state: dict[str, Any], changes: Changes, log_sigma: float = 0.0) -> dict[str, Any]:
    """Take out of a state what changes after it have made untrue, and make room for new samples.

    The score of a sample that is new or another is NaN and its visits are 0, log sigma is where every sample starts,
    with no momentum. An epoch that was begun begins again, with the weights as they are. All else is as it was; nothing
    is written to.

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
    stepper = _stepper(state["stepper"], fresh, log_sigma)
    anew = {"place": 0, "sampler": None, "observer": None, "changes": changes.count}
    return state | {"ledger": ledger, "stepper": stepper} | anew


def _rows(values: Tensor, fresh: Tensor, start: float) -> Tensor:
    rows = values.new_full((len(fresh),), start)
    rows[: len(values)] = values
    rows[fresh.to(rows.device)] = start
    return rows


def _stepper(state: dict[str, Any], fresh: Tensor, log_sigma: float) -> dict[str, Any]:
    tables = state.get("temperature", {})
    if "log_sigma_instance" not in tables:
        return state
    optimizer = state["rows_optimizer"]
    place = optimizer["param_groups"][-1]["params"][0]  # the group of the instances comes last
    memory = dict(optimizer["state"])
    if place in memory:  # not before its first step
        memory[place] = memory[place] | {"momentum": _rows(memory[place]["momentum"], fresh, 0.0)}
    return state | {
        "temperature": tables | {"log_sigma_instance": _rows(tables["log_sigma_instance"], fresh, log_sigma)},
        "rows_optimizer": optimizer | {"state": memory},
    }
