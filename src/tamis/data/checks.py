"""What every source of images holds its arguments to; each check raises one line that says what is wrong."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_index(index: Tensor, count: int) -> None:
    """Positions in a source of `count` samples: int64 (b,), in [0, count), b at least 1."""
    if index.dtype != torch.int64 or index.ndim != 1 or not len(index):
        raise IndexError(f"index must be int64 (b,) and not empty, got {index.dtype} {tuple(index.shape)}")
    low, high = (int(value) for value in torch.aminmax(index))
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise IndexError(f"index must be in [0, {count}), the source's samples, got {wrong}")


def check_samples(count: int, labels: Tensor, class_names: Sequence[str], keys: Sequence[str]) -> None:
    """A source's columns: at least one sample, labels int64 (count,) of known classes, unique keys."""
    if not count:
        raise ValueError("source must have at least one sample, got none")
    if labels.dtype != torch.int64 or tuple(labels.shape) != (count,):
        raise ValueError(f"labels must be int64 ({count},), got {labels.dtype} {tuple(labels.shape)}")
    if len(keys) != count:
        raise ValueError(f"keys must be one a sample, got {len(keys)} for {count} samples")
    wrong = ((labels < 0) | (labels >= len(class_names))).nonzero().flatten().tolist()
    if wrong:
        value, key = int(labels[wrong[0]]), keys[wrong[0]]
        raise ValueError(f"label must be in [0, {len(class_names)}), the classes, got {value} for {key!r}; correct it")
    if len(set(keys)) != count:
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                raise ValueError(f"keys must be unique, got {key!r} twice; remove one of the two samples")
            seen.add(key)


def check_scale(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """One mean and one std a channel, std above 0."""
    if len(mean) != channels or len(std) != channels:
        got = f"{len(mean)} and {len(std)}"
        raise ValueError(f"mean and std must be {channels} numbers, one a channel, got {got}")
    if min(std) <= 0:
        raise ValueError(f"std must be above 0, got {tuple(std)!r}")
