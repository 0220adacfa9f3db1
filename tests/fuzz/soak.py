"""Damage inputs of every reader until the time is over: `python tests/fuzz/soak.py --minutes 5`.

Every run takes new seeds. A failure is printed with the words that repeat it: `--kind zip --seed 123`. The readers run
in a process of their own, so that one that takes its process with it is a failure, too.
"""

import argparse
import itertools
import os
import resource
import secrets
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.readers import READERS, attempt, damaged, valid

SECONDS = 10  # no small file may take longer
MEMORY = 6 << 30  # nor ask for so much more than torch has mapped


class TooLong(BaseException):
    """No error of a reader, and caught by none."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float, default=5.0)
    words.add_argument("--kind", choices=sorted(READERS), help="only this reader")
    words.add_argument("--seed", type=int, help="only this seed, with the traceback")
    asked = words.parse_args()
    kinds = [asked.kind] if asked.kind else list(READERS)
    first = secrets.randbits(40) if asked.seed is None else asked.seed
    seeds = itertools.count(first) if asked.seed is None else [first]
    inputs = ((seed, kind) for seed in seeds for kind in kinds)
    for kind in kinds:
        valid(kind)  # made once, before the processes part
    ends, count, failures, verbose = time.monotonic() + 60 * asked.minutes, 0, 0, asked.seed is not None
    seed, kind = first, ""
    with tempfile.TemporaryDirectory() as scratch:
        while batch := list(itertools.islice(inputs, 500)):
            done, failed = _try_all(batch, Path(scratch), ends, verbose)
            count, failures = count + done, failures + failed
            inputs = itertools.chain(batch[done:], inputs)
            seed, kind = batch[max(done, 1) - 1]
            if time.monotonic() > ends:
                break
    print(f"{count:,} inputs, seeds {first} to {seed} ({kind}), {failures} failures")
    sys.exit(1 if failures else 0)


def _try_all(batch: list[tuple[int, str]], scratch: Path, ends: float, verbose: bool) -> tuple[int, int]:
    """How many inputs were tried in one process, and how many failed; a process that dies ends with its input."""
    notes = scratch / "notes"
    notes.write_text("")
    child = os.fork()
    if not child:
        os.chdir(scratch)
        _bound_memory()
        signal.signal(signal.SIGALRM, _too_long)
        for seed, kind in batch:
            with notes.open("a") as file:
                file.write("?")
            good = _try(kind, seed, scratch / "input", verbose)
            notes.write_text(notes.read_text()[:-1] + ".!"[not good])
            if time.monotonic() > ends:
                break
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    marks = notes.read_text()
    if "?" in marks or status:
        seed, kind = batch[len(marks) - 1]
        print(f"the process ended with status {status}\n  {_again(kind, seed)}")
    return len(marks), marks.count("!") + marks.count("?")


def _try(kind: str, seed: int, folder: Path, verbose: bool) -> bool:
    """Whether the reader ended as it may."""
    signal.alarm(SECONDS)
    try:
        attempt(kind, damaged(kind, seed), folder)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        print(f"{type(error).__name__}: {error}\n  {_again(kind, seed)}", flush=True)
        if verbose:
            traceback.print_exc()
        return False
    finally:
        signal.alarm(0)
    return True


def _again(kind: str, seed: int) -> str:
    return f"again: python tests/fuzz/soak.py --kind {kind!r} --seed {seed}"


def _too_long(number: int, frame: object) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _bound_memory() -> None:
    statm = Path("/proc/self/statm")
    if statm.is_file():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
