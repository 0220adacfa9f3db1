"""What a result needs beside it to be believed: versions, hardware, commit."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the source that runs, with "+changes" if the package was edited; None outside a checkout."""
    git = shutil.which("git")
    root = Path(__file__).resolve().parents[3]
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        done = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        return done.stdout.strip()

    return (
        ask("rev-parse", "--short=12", "HEAD")
        + ("+changes" if ask("status", "--porcelain", "-uno", "--", "src") else "")
    ) or None


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, for run.json and for benchmark results."""
    cuda = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": sys.platform,
        "processor": torch.cuda.get_device_name(device) if cuda else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "commit": commit(),
    }
