"""Results as JSON lines: one file a benchmark, one line a measurement, never rewritten."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tamis.recipes.environment import environment

RESULTS = Path(__file__).parent / "results"


def append(name: str, row: dict[str, Any], device: str = "cpu") -> None:
    """Add a measurement, with when, where and with which versions it was made."""
    about = {"date": datetime.now(UTC).date().isoformat(), **environment(torch.device(device))}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({**row, "environment": about}) + "\n")


def read(name: str) -> list[dict[str, Any]]:
    """All measurements of a benchmark, in the order they were made."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def done(name: str, **identity: Any) -> bool:
    """Whether a measurement with these fields is there already."""
    return any(all(row.get(key) == value for key, value in identity.items()) for row in read(name))
