"""The other processes of a training: started here, or by torchrun."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist

from tamis.fit.processes import PATIENCE

# What torchrun tells each of its processes.
_RANK, _LOCAL_RANK, _WORLD_SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE"
_MOMENT = 0.5  # seconds that a process may take to end after it has closed its connections


class LostProcess(OSError):
    """One of several processes has died; the message says which."""


@contextmanager
def others(count: int, words: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Run with others: those of torchrun if it started this process, else `count` in all, started here.

    The processes that are started here run the same command and only follow: signals, files and the screen are this
    one's. When it dies they do, since they lose touch.

    Args:
        count: processes in all, on this machine; 1 = this one alone.
        words: the command, as after `tamis`.

    Yields:
        What joins the process group: to be called once, before the training and after all that may be refused.

    Raises:
        ValueError: more processes than GPUs, where GPUs are used.
        LostProcess: one that was started here has died.
    """
    started: list[subprocess.Popen[bytes]] = []
    if _RANK not in os.environ and count > 1:
        if torch.cuda.is_available() and count > torch.cuda.device_count():
            raise ValueError(
                f"processes must be at most the {torch.cuda.device_count()} GPUs, got {count}; take fewer, or hide the "
                "GPUs with CUDA_VISIBLE_DEVICES="
            )
        started = _start(count, words)
    try:
        yield _join
    except BaseException as error:
        told = _lost(started) if isinstance(error, RuntimeError) else ""
        for child in started:
            child.kill()
        if told:
            raise LostProcess(told) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for child in started:
            child.wait()


def _lost(started: Sequence[subprocess.Popen[bytes]]) -> str:
    """Which of the processes has died, if one has: torch only says that it does not answer."""
    for rank, child in enumerate(started, start=1):
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(_MOMENT)
            return (
                f"all {len(started) + 1} processes must stay alive, got process {rank} ended with code {code}; run the "
                "same command again to go on after the last checkpoint"
            )
    return ""


def _start(count: int, words: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), _WORLD_SIZE: str(count)}
    children = []
    for rank in range(1, count):
        own = {_RANK: str(rank), _LOCAL_RANK: str(rank)}
        # In a session of its own: Ctrl-C on the terminal is for rank 0, which tells the others.
        children.append(
            subprocess.Popen(  # noqa: S603 - this very command, as a list
                [sys.executable, "-P", "-m", "tamis", *words],  # -P: not from the working directory
                env=os.environ | own,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    os.environ |= {_RANK: "0", _LOCAL_RANK: "0"}
    return children


def _join() -> None:
    if int(os.environ.get(_WORLD_SIZE, "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def follows() -> bool:
    """Whether another process writes and speaks for this one, now or after it has joined."""
    return int(os.environ.get(_WORLD_SIZE, "1")) > 1 and int(os.environ.get(_RANK, "0")) > 0


def rank() -> int:
    """Of this process in the group that it has joined; 0 writes and speaks for all."""
    return dist.get_rank() if together() else 0


def wait_for_all() -> None:
    """Go on when all processes are here."""
    if together():
        dist.barrier()


def device_of_this(name: str) -> str:
    """The GPU of this process where there are several processes, else the device as it was named."""
    if together() and torch.cuda.is_available() and name in ("auto", "cuda"):
        return f"cuda:{os.environ[_LOCAL_RANK]}"
    return name


def together() -> bool:
    """Whether this process has joined others."""
    return dist.is_available() and dist.is_initialized()
