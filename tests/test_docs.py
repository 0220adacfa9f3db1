"""What the documents say holds: links, commands, the loop of the README, the tables, the rooms."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tamis
from tamis.cli import app
from tamis.rules import InfoBatch

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:src|docs|benchmarks|tests|\.ci)/[^`*]*)`", page.read_text()):
        assert (ROOT / name.rstrip("/")).exists(), name


def test_readme_commands_parse() -> None:
    typed = re.sub(r"<!-- results.*?<!-- end -->", "", README, flags=re.DOTALL)
    blocks = "".join(re.findall(r"```\n(.*?)```", typed, re.DOTALL))
    lines = [line.split("#")[0] for line in blocks.splitlines() if line.startswith("tamis ")]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line)[1:]
        app.parse_args(words, print_error=False, exit_on_error=False)


def test_readme_loop_runs_and_is_short() -> None:
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    code = block[1].replace("epochs=30", "epochs=3").replace("range(30)", "range(3)")
    assert len(code.strip().splitlines()) < 12
    torch.manual_seed(0)
    images, labels = torch.randn(300, 8), torch.randint(3, (300,))
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names = {"tamis": tamis, "F": F, "InfoBatch": InfoBatch, "dataset": labels, "images": images, "labels": labels}
    names |= {"model": model, "optimizer": optimizer}
    exec(code, names)  # noqa: S102 - the code is our own README's
    ledger = names["ledger"]
    assert isinstance(ledger, tamis.Ledger)
    assert int(ledger.seen.min()) >= 1
    assert int(ledger.seen.sum()) < 900


def test_architecture_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "src" / "tamis").iterdir():
        if path.name not in ("__init__.py", "__pycache__", "py.typed"):
            assert f"`{path.name}" in page, path.name


def test_architecture_is_one_page() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text().splitlines()) < 80


def test_version_is_in_the_changelog() -> None:
    assert f"## {tamis.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
