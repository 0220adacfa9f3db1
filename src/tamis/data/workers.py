"""Processes that prepare batches ahead of the training, in the order in which it wants them.

Unlike torch's DataLoader, which reports a dead worker from a signal handler and so anywhere in the program, also in
the middle of an optimiser's step, this does so only where the next batch is asked for, and names what was lost.
"""

import atexit
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawValue
from typing import Any

import torch
import torch.multiprocessing as processes  # tensors travel through shared memory
from torch import Tensor

_AHEAD = 2  # batches that each worker is asked for before the first of them is needed
_PATIENCE = 2.0  # seconds after which an idle worker looks whether the main process is still there
_GRACE = 5.0  # seconds that a worker gets to end by itself: it has to finish an image at most
_NAMED = 5  # samples that the message names

_ADVICE = {
    "SIGKILL": "memory may have run out: take fewer --workers or a smaller --batch-size",
    "SIGBUS": "shared memory has run out: make /dev/shm larger or take fewer --workers",
    "SIGSEGV": "the decoder has crashed: take that file out of the data",
}


class DeadWorker(OSError):
    """A process that prepares batches has died.

    Attributes:
        pid: its number.
        keys: the samples that it was asked for and did not deliver.
    """

    def __init__(self, message: str, pid: int | None = None, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.pid, self.keys = pid, tuple(keys)


class Mark:
    """Tells the main process which sample a worker is at; it ends the worker where nothing is wanted any more."""

    def __init__(self) -> None:
        self._place, self._stop = RawValue("q", -1), RawValue("b", 0)

    def __call__(self, place: int) -> None:
        """Called by the worker before each sample, with its position."""
        self._place.value = place
        if self._stop.value:
            sys.exit()

    def place(self) -> int:
        """The position of the sample that was begun last, -1 before the first."""
        return self._place.value

    def stop(self) -> None:
        """Let the worker end before its next sample."""
        self._stop.value = 1


Work = Callable[[Tensor, Mark], Any]
"""Prepares the batch of some positions, int64 (b,); it must be picklable."""


def prepared(work: Work, plan: Iterable[Tensor], keys: Sequence[str], workers: int) -> Iterator[Any]:
    """What `work` makes of each index of the plan, in its order, by so many processes.

    Args:
        work: what the processes do.
        plan: int64 (b,), positions in `keys`; it is read two batches a worker ahead.
        keys: names of the samples.
        workers: how many processes.

    Raises:
        DeadWorker: a process was killed, crashed, or failed.
    """
    team = [_Worker(work, keys) for _ in range(workers)]
    close = _Closing(team)
    atexit.register(close)  # it runs before multiprocessing waits for its processes
    waiting: deque[_Worker] = deque()
    try:
        for turn, index in enumerate(plan):
            worker = team[turn % workers]
            worker.ask(index)
            waiting.append(worker)
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().answer()
        while waiting:
            yield waiting.popleft().answer()
    finally:
        close()
        atexit.unregister(close)


class _Worker:
    """A process that answers questions in the order in which they were asked."""

    def __init__(self, work: Work, keys: Sequence[str]) -> None:
        self.keys, self.mark = keys, Mark()
        self.asked: deque[Tensor] = deque()
        self.pipe, theirs = processes.Pipe()
        self.process = processes.Process(target=_serve, args=(work, theirs, self.pipe, self.mark), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, index: Tensor) -> None:
        self.asked.append(index)
        try:
            self.pipe.send(index.numpy())
        except OSError as error:
            raise self._dead() from error

    def answer(self) -> Any:
        try:
            if self.pipe not in wait([self.pipe, self.process.sentinel]):
                raise EOFError
            failed, answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(_GRACE)
            if self.process.is_alive():  # the fault lies here, such as too many open files
                raise
            raise self._dead() from error
        if failed:
            dead = self._dead(answer.strip().splitlines()[-1])
            dead.add_note(answer)
            raise dead
        self.asked.popleft()
        return answer

    def _dead(self, failure: str = "") -> DeadWorker:
        """What to say of a process that has died, or has failed."""
        if not failure:
            self.process.join(_GRACE)
        code = self.process.exitcode or 0
        name = signal.Signals(-code).name if -code in set(signal.Signals) else ""
        how = failure or (f"killed by {name}" if name else f"ended with code {code}")
        keys: list[str] = [self.keys[int(place)] for index in self.asked for place in index.tolist()]
        place = self.mark.place()
        where = f"at {self.keys[place]!r}" if place >= 0 else "before its first sample"
        listed = ", ".join(map(repr, keys[:_NAMED])) + (", ..." if len(keys) > _NAMED else "")
        advice = _ADVICE.get(name, "take --workers 0 to see more")
        return DeadWorker(
            f"worker must live until its batches are delivered, got process {self.process.pid} {how} {where}, with "
            f"{len(keys)} samples in flight ({listed}); {advice}",
            self.process.pid,
            keys,
        )


class _Closing:
    """Ends the processes: those that are in the middle of an image finish it."""

    def __init__(self, team: Sequence[_Worker]) -> None:
        self.team = team

    def __call__(self) -> None:
        for worker in self.team:
            worker.mark.stop()
            with suppress(OSError):
                worker.pipe.send(None)
        for worker in self.team:
            worker.process.join(_GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


def _serve(work: Work, pipe: Connection, other_end: Connection, mark: Mark) -> None:
    """What a process does: it ends with the main process, however that ends."""
    other_end.close()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a job: the main one decides
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = os.getppid()
    with suppress(EOFError, OSError):
        while True:
            while not pipe.poll(_PATIENCE):
                if os.getppid() != parent:
                    return
            index = pipe.recv()
            if index is None:
                return
            pipe.send(_answer(work, torch.from_numpy(index), mark))


def _answer(work: Work, index: Tensor, mark: Mark) -> tuple[bool, Any]:
    """Whether the work failed, and what came of it, or its traceback."""
    try:
        return False, work(index, mark)
    except Exception:
        return True, traceback.format_exc()
