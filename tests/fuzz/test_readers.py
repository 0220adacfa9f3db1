"""A quick part of the fuzzing: the same damaged inputs in every run; `make soak` takes new ones."""

import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.readers import READERS, attempt, damaged, valid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "input"


@pytest.mark.parametrize("kind", READERS)
def test_the_valid_input_is_read(kind: str, folder: Path) -> None:
    assert attempt(kind, valid(kind), folder) == "read"


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_input_is_read_or_refused(kind: str, folder: Path) -> None:
    @settings(max_examples=40, deadline=5000, database=None)
    @given(st.integers(0, 1 << 32))
    @example(0)
    def read(seed: int) -> None:
        attempt(kind, damaged(kind, seed), folder)

    read()


def test_a_zip_of_several_disks(folder: Path) -> None:
    """Found by atheris: Python's look at the end of the file failed in another way."""
    locator = struct.pack("<4sLQL", b"PK\6\7", 1, 0, 5)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert attempt("zip", {"data.zip": locator + end}, folder) == "ValueError"


def test_most_damage_is_noticed(folder: Path) -> None:
    outcomes = {attempt("tar.gz", damaged("tar.gz", seed), folder) for seed in range(30)}
    assert "ValueError" in outcomes
