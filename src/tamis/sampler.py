"""The sampler: asks the rule what to show, and draws it in one fixed order.

The order of an epoch is a permutation of the *whole* data set that depends on seed and epoch alone; what is hidden is
left out of it. Two runs with the same seed and different rules therefore see the samples they share in the same
order: they differ by the method and by nothing else. Only groups, and a pace that goes on within the epoch, move
samples out of that order, as little as they can (see `tamis.buckets`).
"""

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from tamis.buckets import bucketed, even, numbered, released
from tamis.ledger import Ledger
from tamis.moment import Moment
from tamis.rules import Rule, is_batch_paced

# The order of 100 million samples is filtered in pieces of this size, to stay in memory and in cache.
_PIECE = 1 << 22


def _process_group() -> tuple[int, int]:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shuffled(weight: Tensor, moment: Moment) -> Tensor:
    """The visible samples in the fixed order of the epoch.

    Args:
        weight: float32 (n,), 0 = hidden.
        moment: epoch and seed; they alone decide the order.

    Returns:
        int32 (m,), or int64 where n needs it.
    """
    size = len(weight)
    kind = torch.int32 if size < 1 << 31 else torch.int64
    order = torch.randperm(size, generator=moment.generator("order"), dtype=kind)
    visible = weight > 0
    if visible.all():
        return order
    kept = 0
    for piece in order.split(_PIECE):
        # Moved to the front in place: what is written never overtakes what is read.
        shown = piece[visible.index_select(0, piece)]
        order[kept : kept + len(shown)] = shown
        kept += len(shown)
    return order[:kept]


class PlannedSampler(Sampler[int]):
    """Yields the indices that the rule shows in an epoch, each of them once.

    Works where torch's own samplers do: pass it to a DataLoader, call `set_epoch` before each epoch. If nobody does,
    it advances by itself and says so once. With several processes each gets every world_size-th index of the same
    global order. Index by index, the at most world_size - 1 last ones are left out of the epoch, never repeated; in
    `batches` nothing is left out.

    Attributes:
        weight: float32 (n,), the rule's weights for the current epoch; multiply the losses by them.
    """

    def __init__(
        self,
        ledger: Ledger,
        rule: Rule,
        *,
        epochs: int,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        groups: Tensor | None = None,
    ) -> None:
        """Plan the first epoch.

        Args:
            ledger: the scores to plan from; read anew at every epoch.
            rule: what to show.
            epochs: length of the training; the rule's progress is epoch / epochs.
            seed: decides the order and the rule's draws.
            rank: this process, by default that of the initialised process group.
            world_size: number of processes, likewise.
            groups: int64 (n,), only samples of one number share a batch, such as images of one size; None = all can.

        Raises:
            ValueError: rank outside [0, world_size), an epoch that would be empty, groups that are not int64 (n,), or
                groups together with a pace that goes on within an epoch.
        """
        default_rank, default_world = _process_group()
        self.rank = default_rank if rank is None else rank
        self.world_size = default_world if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be in [0, {self.world_size}), got {self.rank!r}")
        self.ledger, self.rule, self.epochs, self.seed = ledger, rule, epochs, seed
        if groups is not None and is_batch_paced(rule):
            raise ValueError(f"groups must come with a pace by epoch, got {rule!r}; take unit epoch")
        self.groups = None if groups is None else numbered(groups, len(ledger))
        self._warned = False
        self._plan(0, None)

    def _plan(self, epoch: int, weight: Tensor | None, position: int = 0) -> None:
        self.moment = Moment(epoch, self.epochs, self.seed)
        self.weight = self.order = torch.empty(0)  # the old plan goes before the new one comes: half the peak of memory
        if weight is None:
            weight = self.rule(torch.ones(1).expand(len(self.ledger)), self.ledger.score, self.moment)
        self.weight = weight
        self.order = shuffled(weight, self.moment)
        self._arranged: tuple[int, Tensor] | None = None  # the batch size that the order was changed for, and its cuts
        if len(self.order) < self.world_size:
            raise ValueError(
                f"the plan of epoch {epoch} must show at least {self.world_size} samples, got {len(self.order)} from "
                f"{self.rule!r}; weaken the rule"
            )
        self.position = position

    @property
    def _finished(self) -> bool:
        return self.position >= len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Ask the rule for the plan of an epoch, with the scores as they are now."""
        if epoch != self.moment.epoch or self._finished or self.position == 0:
            self._plan(epoch, None)

    def __len__(self) -> int:
        """How many indices this process gets in the current epoch."""
        return len(self.order) // self.world_size

    def __iter__(self) -> Iterator[int]:
        self._advance_alone()
        if self.groups is not None:
            raise ValueError("groups must come with whole batches, got single indices; use PlannedBatchSampler")
        self._cuts(self.world_size)  # a pace within the epoch goes from index to index
        while self.position + self.world_size <= len(self.order):
            self.position += self.world_size
            yield int(self.order[self.position - self.world_size + self.rank])
        self.position = len(self.order)

    def _advance_alone(self) -> None:
        if not self._finished:
            return
        if not self._warned:
            warnings.warn("set_epoch was not called between two epochs; advancing by itself", stacklevel=3)
            self._warned = True
        self._plan(min(self.moment.epoch + 1, self.epochs - 1), None)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """The rest of the epoch in batches, for loops that take index tensors.

        The epoch is cut into ceil(m / batch_size) batches whose sizes differ by at most one sample: a last batch of one
        or two samples would ruin batch normalisation. The cuts do not depend on the number of processes, which share
        each batch. Where an epoch goes on with another batch size, the batch that was begun is shown as far as it is
        left. With groups this holds for the samples of each group, and a batch comes when its last sample would have.

        Args:
            batch_size: at most this many samples a batch, of all processes together.

        Yields:
            int64 (b,), this process's part of the batch: every world_size-th of its samples.

        Raises:
            ValueError: batch_size < 1, or a batch has fewer samples than there are processes.
        """
        self._advance_alone()
        for start, stop in self._cuts(batch_size):
            first = max(start, self.position)
            if first >= stop:
                continue
            if stop - first < self.world_size:
                raise ValueError(
                    f"a batch must have a sample for each of the {self.world_size} processes, got {stop - first}; "
                    "raise batch_size or take fewer processes"
                )
            self.position = stop
            yield self.order[first + self.rank : stop : self.world_size].long()

    def steps(self, batch_size: int) -> int:
        """Number of batches in the current epoch, `batch_size` as in `batches`."""
        return len(self._cuts(batch_size))

    def _cuts(self, batch_size: int) -> Sequence[tuple[int, int]]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        if self.groups is None and not is_batch_paced(self.rule):
            return list(pairwise(even(len(self.order), batch_size)))
        if self._arranged is None or (self.position == 0 and self._arranged[0] != batch_size):
            self.order, edges = self._for_batches(batch_size)
            self._arranged = batch_size, edges
        size, edges = self._arranged
        cuts = list(pairwise(edges.tolist()))
        if size == batch_size:
            return cuts
        # Begun with another size: its batches stay, and are cut where they are too large.
        return [(start + a, start + b) for start, stop in cuts for a, b in pairwise(even(stop - start, batch_size))]

    def _for_batches(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """The order of the epoch as batches of this size need it, and their edges."""
        order = self.order if self._arranged is None else shuffled(self.weight, self.moment)
        if self.groups is not None:
            return bucketed(order, self.groups, batch_size, self.world_size)
        edges = torch.tensor(even(len(order), batch_size))
        if is_batch_paced(self.rule):
            shown = torch.ones(1).expand(len(self.ledger))
            release = self.rule.release(shown, self.ledger.score, self.moment, len(edges) - 1)
            order = released(order, release, edges)
        return order, edges

    def total_steps(self, batch_size: int) -> int:
        """Number of steps of the whole training, known before it starts: for schedules such as OneCycleLR.

        It supposes that every sample has a score before the first epoch, as the curricula need.

        Raises:
            ValueError: the rule's counts depend on the scores themselves (InfoBatch, DropEasy, ...), or there are
                groups; drive the schedule by progress instead, as `tamis.fit` does.
        """
        if self.groups is not None:
            raise ValueError(
                "groups must be None for total_steps, as an epoch's batches depend on what of them is shown"
            )
        total = 0
        for epoch in range(self.epochs):
            count = self.rule.count(len(self.ledger), Moment(epoch, self.epochs, self.seed))
            if count is None:
                raise ValueError(
                    f"the length of epoch {epoch} must not depend on scores, got {self.rule!r}; "
                    "drive the learning rate by progress (epoch + batch / len) / epochs"
                )
            total += -(-count // batch_size)
        return total

    def state_dict(self) -> dict[str, Any]:
        """The place in the current epoch, also in the middle of it; independent of the number of processes."""
        state = {"epoch": self.moment.epoch, "position": self.position, "weight": self.weight}
        if self._arranged is not None:
            state |= {"order": self.order, "batch_size": self._arranged[0], "edges": self._arranged[1]}
        return state

    def state_after(self, steps: int, batch_size: int) -> dict[str, Any]:
        """The state when so many batches of the epoch are done, whatever a loader has fetched ahead."""
        position = self._cuts(batch_size)[steps - 1][1] if steps else 0
        return self.state_dict() | {"position": position}

    def steps_done(self, batch_size: int) -> int:
        """How many batches of the current epoch lie before its place."""
        return sum(stop <= self.position for _, stop in self._cuts(batch_size))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place: the epoch goes on with the plan it had.

        Raises:
            ValueError: the state belongs to another data set.
        """
        if len(state["weight"]) != len(self.ledger):
            raise ValueError(f"weight must hold {len(self.ledger)} samples, got {len(state['weight'])}")
        self._plan(int(state["epoch"]), state["weight"].clone(), int(state["position"]))
        if "order" in state:
            self.order, self._arranged = state["order"].clone(), (int(state["batch_size"]), state["edges"].clone())


class PlannedBatchSampler(Sampler[list[int]]):
    """Batches of a `PlannedSampler`, for `DataLoader(batch_sampler=...)`.

    `set_epoch` works on it and on its `sampler`, since frameworks call one or the other.
    """

    def __init__(self, sampler: PlannedSampler, batch_size: int) -> None:
        """Cut each epoch of `sampler` into even batches of at most `batch_size` samples in each process.

        Raises:
            ValueError: batch_size < 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        self.sampler, self.batch_size = sampler, batch_size

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Number of batches in the current epoch."""
        return self.sampler.steps(self.batch_size * self.sampler.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        for index in self.sampler.batches(self.batch_size * self.sampler.world_size):
            yield index.tolist()
