"""Passes over a whole data set in evaluation: to judge a model, and to score samples by it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from tamis.batch import Batch
from tamis.fit.protocols import Forward, Grouped, Source, Task

# Fewer images at once leave a fast processor waiting; those that may differ in size are large, and come as told.
_AT_LEAST = 256


def groups_of(source: Source, *, train: bool) -> Tensor | None:
    """Which samples may share a batch, int64 (n,); None = all of them."""
    return source.groups(train) if isinstance(source, Grouped) else None


def whole_plan(source: Source, batch_size: int) -> Sequence[Tensor]:
    """Batches of all samples for evaluation, each of samples that fit together; in order within a group."""
    groups = groups_of(source, train=False)
    if groups is None:
        small = not isinstance(source, Grouped)
        return torch.arange(len(source)).split(max(_AT_LEAST, batch_size) if small else batch_size)
    order = groups.argsort(stable=True)
    members = order.split(torch.unique(groups, return_counts=True)[1].tolist())
    return [part for each in members for part in each.split(batch_size)]


@torch.inference_mode()
def sample_scores(
    forward: Forward,
    task: Task,
    source: Source,
    batch_size: int,
    move: Callable[[Batch], Batch],
    each: Callable[[int], None] | None = None,
) -> Tensor:
    """How hard each sample is for a model as it is: its "score" of the task, or its "loss" if the task has no other.

    One forward pass; what it finds stays on the device until the end, so that a GPU is never waited for.

    Args:
        forward: a model in evaluation mode.
        task: what the loss of a sample is.
        source: the n samples, taken without augmentation.
        batch_size: samples of a pass.
        move: brings a batch to the model's device.
        each: called with the number of samples after every batch.

    Returns:
        float32 (n,) on the CPU; NaN for samples that could not be read.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for batch in _not_empty(source.batches(whole_plan(source, batch_size), epoch=0, seed=0, train=False)):
        moved = move(batch)
        columns = task.losses(forward, moved)[1]
        found.append((moved.index, columns.get("score", columns["loss"]).float()))
        if each is not None:
            each(len(batch))
    scores = torch.full((len(source),), torch.nan)
    if found:
        index, values = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        scores[index] = values
    return scores


def _not_empty(batches: Iterable[Batch]) -> Iterator[Batch]:
    """What could be read."""
    return (batch for batch in batches if len(batch))
