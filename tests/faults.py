"""Fault tests: a test that carries `fault(row, expected)` says with `seen(text, count=...)` what it saw.

`pytest --faults docs/faults.md` writes both, side by side, into one table. A run that runs only some of the tests
replaces their lines and leaves the others as they were; a line says in which run its figures were seen.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from tamis.files import replace_file
from tamis.recipes.environment import environment

HEAD = """# Faults: what must happen, and what was seen

Written by `make faults`. Every line is a test that caused a fault and passed; "count" is how often it caused it.

| row | what must happen | seen | count | seconds | test | run |
|---:|---|---|---:|---:|---|---:|
"""
Test = tuple[int, str, str]  # row, what must happen, file::function


@dataclass(frozen=True)
class Line:
    """A line of the table; `run` is the text of the run that saw it."""

    row: int
    expected: str
    seen: str
    count: int
    seconds: float
    test: str
    run: str


@dataclass
class Course:
    """What became of a test function, over all its parameters."""

    cases: int = 0
    passed: int = 0
    skipped: int = 0
    failed: bool = False
    seconds: float = 0.0
    expected: dict[int, str] = field(default_factory=dict)
    seen: list[tuple[str, int]] = field(default_factory=list)


def read(page: Path) -> list[Line]:
    """The lines of a page that `write` has written; none if there is no page."""
    text = page.read_text("utf-8") if page.is_file() else ""
    runs = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in text.splitlines() if re.match(r"\| \d", line)]
    plain = [[cell.replace(r"\|", "|") for cell in row] for row in rows]
    return [
        Line(int(row), expected, seen, int(count), float(seconds), test.strip("`"), runs[run])
        for row, expected, seen, count, seconds, test, run in plain
    ]


def write(page: Path, lines: list[Line]) -> None:
    """Write the page, sorted by row."""
    lines = sorted(lines, key=lambda line: (line.row, line.test))
    runs = list(dict.fromkeys(line.run for line in lines))
    text = HEAD
    for line in lines:
        expected, seen = (" ".join(each.split()).replace("|", r"\|") for each in (line.expected, line.seen))
        cells = [str(line.row), expected, seen, str(line.count), f"{line.seconds:.1f}", f"`{line.test}`"]
        text += "| " + " | ".join([*cells, str(runs.index(line.run) + 1)]) + " |\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    replace_file(page, text + "\nRuns:\n\n" + "".join(f"{place}. {run}\n" for place, run in enumerate(runs, 1)))


def declared(folder: Path) -> set[Test]:
    """Every fault test in the test files of a folder, read from their text: markers must be decorators of literals."""
    found: set[Test] = set()
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                marks = [each for each in node.decorator_list if isinstance(each, ast.Call)]
                for mark in marks:
                    if ast.unparse(mark.func) == "pytest.mark.fault":
                        row, expected = (ast.literal_eval(argument) for argument in mark.args)
                        found.add((row, expected, f"{path.name}::{node.name}"))
    return found


class Faults:
    """The plugin's memory during one run."""

    def __init__(self, page: Path | None) -> None:
        self.page = page
        self.tests: dict[str, Course] = defaultdict(Course)

    def course(self, item: pytest.Item) -> Course:
        return self.tests[f"{item.path.name}::{getattr(item, 'originalname', item.name)}"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count the cases of each test before any are deselected."""
        for item in items:
            if marks := list(item.iter_markers("fault")):
                course = self.course(item)
                course.cases += 1
                course.expected |= {mark.args[0]: mark.args[1] for mark in marks}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """A fault test that does not say what it saw is no fault test."""
        before = len(self.course(item).seen) if item.get_closest_marker("fault") else 0
        yield
        if item.get_closest_marker("fault") and len(self.course(item).seen) == before:
            pytest.fail("a fault test must call seen(text, count=...)", pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Note what became of it."""
        report = yield
        if item.get_closest_marker("fault"):
            course = self.course(item)
            course.failed |= report.failed
            course.skipped += report.skipped
            if report.when == "call":
                course.passed += report.passed
                course.seconds += report.duration
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        if self.page is None or not self.tests:
            return
        run = about_this_run()
        new, failed = [], {name for name, course in self.tests.items() if course.failed}
        for name, course in self.tests.items():
            if not course.failed and course.passed and course.passed + course.skipped == course.cases:
                texts = "; ".join(dict.fromkeys(text for text, _ in course.seen))
                line = Line(0, "", texts, sum(count for _, count in course.seen), course.seconds, name, run)
                new += [replace(line, row=row, expected=expected) for row, expected in course.expected.items()]
        gone = failed | {line.test for line in new}
        write(self.page, [line for line in read(self.page) if line.test not in gone] + new)


def about_this_run() -> str:
    """Date, machine, versions and commit in one line."""
    about = environment(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {about['processor']}, {about['cores']} cores, {about['platform']}, "
        f"Python {about['python']}, torch {about['torch']}, commit {about['commit']}"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=Path, default=None, help="write what the fault tests saw into this page")
    parser.addoption("--kills", type=int, default=20, help="how often a training is killed, in the tests that do so")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(row, expected): causes a fault; what must happen is in docs/faults.md")
    page = config.getoption("--faults")
    if page is not None and any("[" in argument for argument in config.args):
        raise pytest.UsageError("--faults needs whole tests, got one of a test's cases; leave its [...] out")
    config.pluginmanager.register(Faults(page), "tamis-faults")


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say what a fault test saw, and how often the fault was caused."""
    plugin = request.config.pluginmanager.get_plugin("tamis-faults")
    assert isinstance(plugin, Faults)

    def note(text: str, *, count: int = 1) -> None:
        plugin.course(request.node).seen.append((text, count))

    return note


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How often a training is killed."""
    return request.config.option.kills
