"""Making things in a thread, some ahead of who uses them."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.1  # seconds after which a waiting thread looks whether it is still wanted
_PARCEL = 4  # things that are handed over at once: a change of threads costs some 30 us
_PARCELS = 2  # that wait


class _End:
    """The last thing in a queue, with what ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(make: Callable[[], Generator[T | None]]) -> Iterator[T]:
    """What a generator gives, made in another thread; at most 16 things are in memory.

    The thread ends with the iteration: when all is used, when the user stops (this generator is closed or collected),
    and when an error passes on to the user. As a daemon it never holds up the end of the program.

    Args:
        make: makes the generator, which is used and closed in the thread. It gives None for "still at work": only
            where it gives something can the thread be stopped.
    """
    parcels: queue.Queue[list[T] | _End] = queue.Queue(_PARCELS)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(make, parcels, stop), name="tamis-frames", daemon=True)
    thread.start()
    try:
        while not isinstance(parcel := parcels.get(), _End):
            parcel.reverse()
            while parcel:  # what was given is not held any longer
                yield parcel.pop()
        if parcel.error is not None:
            raise parcel.error
    finally:
        stop.set()
        while not parcels.empty():  # wakes the thread if it waits
            parcels.get_nowait()
        thread.join()


def _fill(
    make: Callable[[], Generator[T | None]], parcels: "queue.Queue[list[T] | _End]", stop: threading.Event
) -> None:
    error = None
    parcel: list[T] = []
    try:
        with closing(make()) as made:
            for thing in made:
                if stop.is_set():
                    return
                if thing is not None:
                    parcel.append(thing)
                if len(parcel) == _PARCEL:
                    _put(parcels, parcel, stop)
                    parcel = []
    except BaseException as raised:  # it is the user's to handle
        error = raised
    if parcel:
        _put(parcels, parcel, stop)
    _put(parcels, _End(error), stop)


def _put(parcels: "queue.Queue[list[T] | _End]", parcel: list[T] | _End, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            parcels.put(parcel, timeout=_PATIENCE)
        except queue.Full:
            continue
        return
