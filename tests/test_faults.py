"""docs/faults.md: every fault test has its line there, and no line is left over."""

from dataclasses import replace
from pathlib import Path

import pytest

from faults import Line, declared, read, write

ROOT = Path(__file__).resolve().parents[1]
LINE = Line(12, "a | b must hold", r"20 of 20 \ 0 lost", 20, 1.5, "test_x.py::test_y", "2026-01-01, a machine")


def test_the_page_has_a_line_for_every_fault_test_and_no_other() -> None:
    lines = {(line.row, line.expected, line.test) for line in read(ROOT / "docs" / "faults.md")}
    there = declared(ROOT / "tests")
    missing = [f"no line for {row}, {test}" for row, _, test in sorted(there - lines)]
    left = [f"a line for {row}, {test}, whose test says otherwise or is gone" for row, _, test in sorted(lines - there)]
    assert not missing + left, "\n".join([*missing, *left, "run `make faults`"])


def test_what_is_written_is_read_back_sorted(tmp_path: Path) -> None:
    lines = [LINE, replace(LINE, row=2, run="another"), replace(LINE, row=2, test="test_a.py::test_b")]
    write(tmp_path / "page.md", lines)
    assert read(tmp_path / "page.md") == [lines[2], lines[1], lines[0]]
    assert read(tmp_path / "none.md") == []


def test_declared_reads_decorators(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        '@pytest.mark.fault(3, "a " "b")\n@pytest.mark.fault(4, "c")\n@pytest.mark.slow\ndef test_y(): pass\n'
    )
    assert declared(tmp_path) == {(3, "a b", "test_x.py::test_y"), (4, "c", "test_x.py::test_y")}


TESTS = """
import pytest

@pytest.mark.fault(1, "holds")
@pytest.mark.parametrize("case", [1, 2])
def test_some(case, seen):
    seen(f"saw {case}", count=case)

@pytest.mark.fault(2, "holds")
def test_silent():
    pass

@pytest.mark.fault(3, "holds")
def test_broken(seen):
    seen("x")
    assert 0
"""


@pytest.fixture
def inside(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((ROOT / "tests" / "faults.py").read_text())
    pytester.makepyfile(TESTS)
    return pytester


def test_a_run_writes_what_passed_and_takes_away_what_failed(inside: pytest.Pytester) -> None:
    page = inside.path / "page.md"
    write(page, [LINE, replace(LINE, test="test_a_run_writes_what_passed_and_takes_away_what_failed.py::test_broken")])
    result = inside.runpytest("--faults", str(page))
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*a fault test must call seen(text, count=...)*"])
    mine, kept = read(page)
    assert kept == LINE
    assert (mine.row, mine.expected, mine.seen, mine.count) == (1, "holds", "saw 1; saw 2", 3)
    assert mine.run.split(", ")[1:] != LINE.run.split(", ")[1:]


def test_half_a_test_changes_nothing(inside: pytest.Pytester) -> None:
    page = inside.path / "page.md"
    write(page, [LINE])
    inside.runpytest("--faults", str(page), "-k", "test_some and 1").assert_outcomes(passed=1, deselected=3)
    assert read(page) == [LINE]
    result = inside.runpytest("--faults", str(page), "test_x.py::test_some[1]")
    result.stderr.fnmatch_lines(["*--faults needs whole tests*"])
