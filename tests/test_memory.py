"""Freed memory is kept: pages are not fetched from the system again for every batch."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from tamis.memory import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
make = lambda: torch.ones(64 << 20, dtype=torch.uint8)
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str, **environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", FAULTS, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**inherited, **environment})
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_serves_again() -> None:
    plain, kept = faults(), faults("keep")
    assert plain > 500  # huge pages may be two megabytes each
    assert kept < plain / 4
    assert faults("keep", MALLOC_ARENA_MAX="2") > plain / 2


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis import memory

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("nothing to load here"))
    memory.keep_freed_memory()
