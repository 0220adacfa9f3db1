"""Batches of what is decoded from files: by this process or by others, with what cannot be read left out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor

from tamis.batch import Batch
from tamis.data.decode import UnreadableImage
from tamis.data.quarantine import Quarantine
from tamis.data.workers import prepared


class Decoding(Protocol):
    """A source that decodes a batch when it is asked for it; it must be picklable."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of the samples."""
        ...

    @property
    def workers(self) -> int:
        """Processes that decode; 0 = this one."""
        ...

    @property
    def quarantine(self) -> Quarantine:
        """The samples that cannot be read."""
        ...

    def batch(
        self, index: Tensor, epoch: int, seed: int, train: bool, begin: Callable[[int], None] | None = None
    ) -> tuple[Batch, dict[str, str]]:
        """What could be read of some positions, int64 (b,), and why the rest could not, by key."""
        ...


def delivered(source: Decoding, plan: Iterable[Tensor], *, epoch: int, seed: int, train: bool) -> Iterator[Batch]:
    """One batch for each index of the plan, int64 (b,), in its order; each worker decodes whole batches, two ahead.

    Raises:
        UnreadableImage: more files than allowed cannot be decoded; the message names them.
        DeadWorker: a worker was killed or failed; the message names what it was at.
    """
    work = partial(_decoded, source, epoch, seed, train)
    found = prepared(work, plan, source.keys, source.workers) if source.workers else map(work, plan)
    for answer in found:
        if isinstance(answer, str):
            raise UnreadableImage(answer)
        batch, reasons = answer
        source.quarantine.record(reasons)
        yield batch


def _decoded(
    source: Decoding, epoch: int, seed: int, train: bool, index: Tensor, begin: Callable[[int], None] | None = None
) -> tuple[Batch, dict[str, str]] | str:
    """A batch, or the message of an error: as an exception it would leave the worker as a traceback."""
    try:
        return source.batch(index, epoch, seed, train, begin)
    except UnreadableImage as error:
        return str(error)
