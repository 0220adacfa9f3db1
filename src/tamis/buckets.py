"""Orders of an epoch that batches ask for: samples of one group together, no sample before its release."""

import heapq
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def even(count: int, most: int) -> list[int]:
    """The edges of ceil(count / most) pieces whose sizes differ by at most one."""
    pieces = -(-count // most)
    return [count * place // pieces for place in range(pieces + 1)] if pieces else [0]


def numbered(groups: Tensor, samples: int) -> np.ndarray:
    """The groups by numbers from 0, in the smallest type that holds them: small ones are sorted faster.

    Raises:
        ValueError: groups are not int64 of so many samples.
    """
    if groups.dtype != torch.int64 or groups.shape != (samples,):
        got = f"{groups.dtype} {tuple(groups.shape)}"
        raise ValueError(f"groups must be int64 ({samples},), got {got}; one number a sample")
    names, number = np.unique(groups.numpy(), return_inverse=True)
    return number.astype(np.min_scalar_type(max(0, len(names) - 1)))


def bucketed(order: Tensor, groups: np.ndarray, batch_size: int, least: int = 1) -> tuple[Tensor, Tensor]:
    """An order in which each batch is of one group, and the edges of its batches.

    The samples of each group, in the given order, are cut into even batches; a batch comes where its last sample stood.
    With one group this is the given order.

    Args:
        order: int32 or int64 (m,), the samples in the order to stay close to.
        groups: integers (n,) from 0.
        batch_size: most samples a batch.
        least: fewest samples a batch.

    Returns:
        The order, (m,), and int64 (batches + 1,), from 0 to m.

    Raises:
        ValueError: a batch would have fewer samples than `least`.
    """
    group = groups[order.numpy()]
    by_group = np.argsort(group, kind="stable")  # places in the order, group by group
    size = np.bincount(group)
    batches = -(-size // batch_size)
    fewest = (size // np.maximum(batches, 1))[size > 0].min(initial=batch_size)
    if fewest < least:
        raise ValueError(
            f"a batch must have a sample for each of the {least} processes, got {fewest} in the smallest group; "
            "make the groups larger, raise batch_size or take fewer processes"
        )
    group = group[by_group].astype(np.int64)
    rank = np.arange(len(group)) - (size.cumsum() - size)[group]
    # Batch p of c samples in b batches begins at c p // b, so a sample of rank r lies in batch ((r + 1) b - 1) // c.
    batch = ((rank + 1) * batches[group] - 1) // size[group] + (batches.cumsum() - batches)[group]
    length = np.bincount(batch)
    last = by_group[length.cumsum() - 1]
    turn = np.argsort(last)
    edges = np.concatenate([[0], length[turn].cumsum()])
    start = np.empty_like(length)
    start[turn] = edges[:-1]
    place = start[batch] + np.arange(len(batch)) - (length.cumsum() - length)[batch]
    arranged = np.empty_like(order.numpy())
    arranged[place] = order.numpy()[by_group]
    return torch.from_numpy(arranged), torch.from_numpy(edges)


def released(order: Tensor, release: Tensor, edges: Tensor) -> Tensor:
    """An order in which no sample comes before the batch of its release, while another is there to come.

    Each place takes the first sample of the given order that is released and not yet taken; where there is none, one of
    those with the earliest release.

    Args:
        order: (m,), the samples in the order to stay close to.
        release: int64 (n,), the batch of each sample.
        edges: int64 (batches + 1,), from 0 to m.

    Returns:
        The order, (m,).
    """
    batch = release[order.long()].tolist()
    waiting = iter(sorted(range(len(batch)), key=batch.__getitem__))
    next_one = next(waiting, None)
    free: list[int] = []
    taken = []
    for step, (start, stop) in enumerate(pairwise(edges.tolist())):
        for _ in range(stop - start):
            while next_one is not None and (batch[next_one] <= step or not free):
                heapq.heappush(free, next_one)
                next_one = next(waiting, None)
            taken.append(heapq.heappop(free))
    return order[torch.tensor(taken, dtype=torch.int64)]
