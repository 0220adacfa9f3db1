"""The command line: tamis train | score | report | explain | demo."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.config import Toml, Yaml

import tamis
from tamis.recipes.config import ScoreConfig, TrainConfig

app = App(
    name="tamis",
    help="Train vision models on the samples that matter.",
    help_on_error=False,
    version=tamis.__version__,
)
# Bad input ends with one line and this code; everything else that goes wrong shows its traceback.
BAD_INPUT = 2


@app.command
def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> None:
    """Train an image classifier, and find the labels that look wrong.

    The same command again goes on where it was stopped. Ends with the path of a report.
    """
    print(f"tamis train: {config.data} -> {config.folder}", flush=True)  # torch takes seconds to load
    from tamis.recipes.commands import train_command

    train_command(config)


@app.command
def score(config: Annotated[ScoreConfig, Parameter(name="*")]) -> None:
    """Score the samples of a data set with trained runs: loss, margin, entropy, EL2N, GraNd, forgetting, AUM."""
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
    from tamis.recipes.commands import report_command

    report_command(runs, out)


@app.command
def explain(run: Path, sample: str) -> None:
    """Tell everything that a run knows of one sample.

    Parameters
    ----------
    run
        The run folder.
    sample
        Its key (the path of the image in the data set) or its position.
    """
    from tamis.recipes.commands import explain_command

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
    from tamis.recipes.demo import demo_command

    demo_command(out, threads=threads, seed=seed)


@app.meta.default
def _with_file(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None, Parameter(help="Take settings from a YAML or TOML file; flags go before it.")
    ] = None,
) -> Any:
    if config is not None:
        kind = Toml if config.suffix == ".toml" else Yaml
        app.config = kind(config, must_exist=True, use_commands_as_keys=False)
    return app(tokens)


def main() -> None:
    """Run the command line; a user's mistake ends with one line on stderr and exit code 2."""
    try:
        app.meta()
    except (ValueError, FileNotFoundError, FileExistsError, ImportError) as error:
        if "--debug" in sys.argv:
            raise
        print(f"tamis: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("\ntamis: stopped; the same command again goes on after the last finished epoch", file=sys.stderr)
        sys.exit(130)
