"""Preparing the next batches in a thread while the model is at work on this one."""

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")
_LOOK = 0.1  # seconds between two looks whether anybody still wants what was made


def ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """The same items, `depth` of them made in advance by another thread.

    An error of the iterable is raised where its item would have come. Closing the generator ends the thread.

    Args:
        items: iterated in the other thread, from its first to its last.
        depth: how many wait at most.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not closed.is_set():
            with suppress(queue.Full):
                made.put((item, error), timeout=_LOOK)
                return

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if closed.is_set():
                    return
        except BaseException as error:
            put(None, error)
        else:
            put(None, StopIteration())
        finally:
            if isinstance(items, Generator):
                items.close()  # here, where it ran: the decoder below is closed with it

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        maker.join()
