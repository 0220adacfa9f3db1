"""The command line: tamis train | score | report | explain | demo."""

import shlex
import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

import tamis
from tamis.recipes.config import ScoreConfig, TrainConfig

app = App(
    name="tamis",
    help="Train vision models on the samples that matter.",
    help_on_error=False,
    version=tamis.__version__,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True),
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False  # not inherited
COMMANDS = ("train", "score", "report", "explain", "demo")
# What a user can get wrong ends with one line and this code; anything else shows its traceback.
BAD_INPUT = 2
STOPPED = 128  # and the number of the signal


# Each command prints its first line before it imports torch, which takes seconds.


@app.command
def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> None:
    """Train an image classifier, and find the labels that look wrong.

    The same command again goes on where it was stopped. Ends with the path of a report.
    """
    print(f"tamis train: {config.data} -> {config.folder}", flush=True)
    from tamis.recipes.commands import train_command

    train_command(config)


@app.command
def score(config: Annotated[ScoreConfig, Parameter(name="*")]) -> None:
    """Score the samples of a data set with trained runs: loss, margin, entropy, EL2N, GraNd, forgetting, AUM."""
    print(f"tamis score: {', '.join(map(str, config.runs))}", flush=True)
    from tamis.recipes.score import score_command

    score_command(config)


@app.command
def report(runs: list[Path], *, out: Path | None = None) -> None:
    """Write the page of a run, or one page that compares several.

    Parameters
    ----------
    runs
        Run folders; the first one with data parameters is the one whose suspects are shown.
    out
        The page; by default report.html in the first run folder.
    """
    print(f"tamis report: {', '.join(map(str, runs))}", flush=True)
    from tamis.recipes.commands import report_command

    report_command(runs, out)


@app.command
def explain(run: Path, sample: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Tell everything that a run knows of one sample.

    Parameters
    ----------
    run
        The run folder.
    sample
        Its key (the path of the image in the data set) or its position.
    """
    from tamis.recipes.explain import explain_command

    explain_command(run, sample)


@app.command
def demo(out: Path = Path("tamis-demo"), *, threads: int = 1, seed: int = 0) -> None:
    """Train on handwritten digits with 40 % wrong labels in three ways; takes about a minute on two cores.

    Parameters
    ----------
    out
        Folder for the three runs and the report.
    threads
        Threads of torch (images this small gain nothing from more); 0 = its own choice.
    seed
        Decides everything random.
    """
    print(f"tamis demo: -> {out}", flush=True)
    from tamis.recipes.demo import demo_command

    demo_command(out, threads=threads, seed=seed)


@app.meta.default
def _start(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="Take settings from a YAML or TOML file; flags win over it.")] = None,
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False,
) -> Any:
    # The same settings for every command: flat, cyclopts would drop the setting `report` as the name of a command.
    app.config = () if config is None else Dict(dict.fromkeys(COMMANDS, settings_in(config)), source=str(config))
    return app(tokens)


def settings_in(path: Path) -> dict[str, Any]:
    """The settings in a YAML or TOML file.

    Raises:
        ValueError: it is neither, or damaged (the message names the line), or no mapping.
        FileNotFoundError: it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"config must be a file that is there, got {str(path)!r}; correct the path")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ValueError(f"config must end in .toml, .yaml or .yml, got {str(path)!r}; rename it")
    kind = path.suffix[1:].upper()
    try:
        with path.open(encoding="utf-8") as file:  # YAML's messages name an open file
            found = tomllib.loads(file.read()) if kind == "TOML" else yaml.safe_load(file)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config must be {kind}, got {error} in {str(path)!r}; correct it") from error
    if not isinstance(found, dict):
        raise ValueError(f"config must be lines of setting: value, got {type(found).__name__} in {str(path)!r}")
    return found


def main() -> None:
    """Run the command line: a user's mistake ends with one line on stderr, a signal with the command to go on."""
    sys.path.append(str(Path.cwd()))  # where models given as module:callable may lie
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app.meta(sys.argv[1:])
    except (CycloptsError, ValueError, OSError, ImportError, FloatingPointError) as error:
        if "--debug" in sys.argv:
            raise
        print(f"tamis: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt as stop:
        again = shlex.join(["tamis", *sys.argv[1:]])
        print(f"\ntamis: stopped; to go on after the last finished epoch: {again}", file=sys.stderr)
        sys.exit(STOPPED + stop.args[0])


def _stop(number: int, frame: object) -> None:
    """End as Ctrl-C does; the second signal ends at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt(number)
