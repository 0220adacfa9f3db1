"""Runs command lines as a user would, each in a process of its own that was forked from one with torch in memory.

As a script: a JSON list of {words, cwd} on stdin, a JSON list of {code, out, err, seconds, megabytes} on stdout.
"""

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SECONDS = 60  # no command here trains for longer


@dataclass(frozen=True)
class Answer:
    """How a command ended; its seconds on a processor; the peak of its memory, what it started with included."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float


def ask_all(commands: Sequence[Sequence[str]], cwd: Path) -> list[Answer]:
    """Run each of the command lines in `cwd`, one after another."""
    asked = json.dumps([list(words) for words in commands])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(
        words, input=asked, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return [Answer(**each) for each in json.loads(done.stdout)]


def main() -> None:
    from PIL import Image

    from tamis import cli

    # What a training imports late is slow to import, too.
    for name in ("tamis.recipes.commands", "tamis.recipes.explain", "tamis.recipes.score", "torch.utils.tensorboard"):
        importlib.import_module(name)
    Image.init()
    answers = []
    for words in json.load(sys.stdin):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                _run(cli, words)
            _, status, usage = os.wait4(child, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
            code = os.waitstatus_to_exitcode(status)
            seconds = usage.ru_utime + usage.ru_stime
            answers.append(asdict(Answer(code, texts[0], texts[1], seconds, usage.ru_maxrss / 1024)))
    json.dump(answers, sys.stdout)


def _run(cli, words: list[str]) -> None:
    """In the child: the command line, and nothing after it."""
    code = 1
    sys.argv = ["tamis", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(ValueError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
