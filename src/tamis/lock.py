"""One owner for a folder: a lock that the system takes back when its owner dies."""

import json
import os
import socket
import warnings
from datetime import UTC, datetime
from pathlib import Path

if os.name == "nt":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    # A record lock, not flock: workers that were forked and outlive their killed parent do not inherit it.
    def _take(handle: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_LONGEST = 4096  # bytes of what an owner writes


class FolderInUse(OSError):
    """Another process owns the folder; the message names it."""


class FolderLock:
    """Holds the file `lock` of a folder until `release`, or until the process ends in whatever way.

    The file tells who holds it. What a dead owner left in it is taken over, with a warning. Within one process the
    lock does not keep anybody out.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            FolderInUse: another living process has it.
        """
        # A bare handle: closing any other one of the file in this process would give the lock away.
        self._handle: int | None = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        before = os.read(self._handle, _LONGEST)
        try:
            _take(self._handle)
        except OSError as error:
            self._close()
            raise FolderInUse(
                f"run folder must be free, got {str(folder)!r} in use by {_owner(before)}; wait for it, or choose "
                "another --out"
            ) from error
        mine = {"pid": os.getpid(), "host": socket.gethostname()}
        if before and not before.startswith(json.dumps(mine)[:-1].encode()):
            told = f"took {str(folder)!r} over from {_owner(before)}, which ended without closing it"
            warnings.warn(told, stacklevel=3)
        self._write(json.dumps(mine | {"since": datetime.now(UTC).isoformat(timespec="seconds")}))

    def release(self) -> None:
        """Give the folder free; doing it twice does no harm."""
        if self._handle is not None:
            self._write("")
            self._close()

    def _write(self, text: str) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, text.encode())

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _owner(text: bytes) -> str:
    """Who wrote into the file."""
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
