"""Imports point down: a module may import rooms of lower floors, and its own room; siblings do not know each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "tamis"
FLOORS = [
    {"__main__"},
    {"cli", "testing"},
    {"recipes"},
    {"report", "fit", "tasks", "data", "models", "culling"},
    {"run", "sampler", "methods"},
    {"temperature", "box_temperature", "history", "checkpoint", "rules", "scores"},
    {"ledger", "paces", "thresholds", "buckets", "rows"},
    {"moment", "batch", "detections", "files", "lock", "memory"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports() -> list[tuple[str, str, str]]:
    """(file, importing room, imported room) of every import of tamis in the package."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path == SOURCE / "__init__.py":
            continue
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [(str(path), room, room_of(name)) for name in names if name.startswith("tamis.")]
    return found


def test_every_room_has_a_floor() -> None:
    rooms = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__", "py.typed"} == set(FLOOR)


def test_imports_point_down() -> None:
    wrong = [
        f"{path}: {importer} -> {imported}"
        for path, importer, imported in imports()
        if importer != imported and FLOOR[importer] >= FLOOR[imported]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("tamis", {"torch", "numpy", "cyclopts"}),
        ("tamis.cli", {"torch", "numpy", "matplotlib", "pyarrow"}),
        # The training path runs where only torch, torchvision, pyarrow, safetensors, rich and matplotlib are.
        ("tamis.recipes.train", {"cyclopts", "jinja2", "sklearn", "timm", "torchvision", "tensorboard"}),
    ],
)
def test_import_is_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())
