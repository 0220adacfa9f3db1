"""Signals during a training: finish the step, save, end; the second one ends at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping() -> Iterator[Callable[[], int]]:
    """Catch SIGINT and SIGTERM; yields what tells the number of the one that came, 0 if none.

    Outside of the main thread, which alone receives signals, nothing is caught.
    """
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        # The second one ends the process even where it is stuck in a call that never returns to Python.
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
