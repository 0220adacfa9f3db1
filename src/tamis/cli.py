"""The command line: tamis train | cull | adapt | resize | score | predict | check | convert | export | report | ..."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

import tamis
from tamis.memory import keep_freed_memory
from tamis.recipes.adapt_config import AdaptConfig
from tamis.recipes.command_config import CheckConfig, PredictConfig, ScoreConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.cull_config import CullConfig, Format
from tamis.recipes.resize_config import ResizeConfig
from tamis.recipes.settings_file import read_settings
from tamis.recipes.sources import Sources

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
# What a user can get wrong ends with one line and this code; anything else shows its traceback.
BAD_INPUT = 2
STOPPED = 128  # and the number of the signal


# Each command prints its first line before it imports torch, which takes seconds.


@app.command
def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> None:
    """Train an image classifier and find the labels that look wrong, or train a counter, or a detector.

    The same command again goes on where it was stopped. Ends with the path of a report.
    """
    print(f"tamis train: {config.data} -> {config.folder}", flush=True)
    from tamis.recipes.commands import train_command

    _search_here(config.model)
    train_command(config)


@app.command
def cull(config: Annotated[CullConfig, Parameter(name="*")]) -> None:
    """Choose the few frames of a camera that are worth training on, and have a big detector label them.

    The same command again goes on where it was stopped. Ends with the path of a report; `tamis train --task detection
    --data OUT` trains on what was kept.
    """
    print(f"tamis cull: {', '.join(map(str, config.sources))} -> {config.folder}", flush=True)
    from tamis.recipes.cull import cull_command

    _search_here(config.student)
    _search_here(config.teacher)
    cull_command(config)


@app.command
def adapt(config: Annotated[AdaptConfig, Parameter(name="*")]) -> None:
    """Fit a small detector to a camera: cull its footage, find the size, train, judge by later frames, report.

    Again next month, with new footage and the same --out: the student that was trained goes on, only what is new is
    culled, and the report shows how the camera has drifted.
    """
    print(f"tamis adapt: {', '.join(map(str, config.sources))} -> {config.folder}", flush=True)
    from tamis.recipes.adapt import adapt_command

    _search_here(config.teacher)
    adapt_command(config)


@app.command
def resize(config: Annotated[ResizeConfig, Parameter(name="*")]) -> None:
    """Find the smallest size of a camera's images at which a detector is about as sure as at full size."""
    print(f"tamis resize: {config.data} -> {config.out}", flush=True)
    from tamis.recipes.resize import resize_command

    _search_here(config.student)
    resize_command(config)


@app.command
def score(config: Annotated[ScoreConfig | None, Parameter(name="*")] = None) -> None:
    """Score the samples of a data set with trained runs, or with any model and its weights.

    Loss, margin, entropy, EL2N, GraNd, forgetting, AUM; for counting the loss of an image, per pixel, or per head; for
    detection the loss of an image, and the confidence loss.
    """
    config = config or ScoreConfig()  # refused, in words of its own
    print(f"tamis score: {', '.join(map(str, config.runs)) or config.model}", flush=True)
    from tamis.recipes.score import score_command

    for run in config.runs:
        _search_here(TrainConfig.read(run).model)
    _search_here(config.model or "")
    score_command(config)


@app.command
def predict(config: Annotated[PredictConfig, Parameter(name="*")]) -> None:
    """Count or find what is on images, with a picture of where, or classify them, with a trained run."""
    print(f"tamis predict: {config.run}", flush=True)
    from tamis.recipes.predict import predict_command

    _search_here(TrainConfig.read(config.run).model)
    predict_command(config)


@app.command
def check(config: Annotated[CheckConfig, Parameter(name="*")]) -> None:
    """Look at every image of a data set, and train nothing: broken, duplicate, leaked into validation, uneven classes.

    Ends with code 0 if nothing is found, 1 if something is, 2 if the data cannot be opened.
    """
    print(f"tamis check: {config.data}", file=sys.stderr if config.json else sys.stdout, flush=True)
    from tamis.recipes.check import check_command

    sys.exit(check_command(config))


@app.command
def convert(
    source: Path,
    out: Path,
    *,
    annotations: Path | None = None,
    at: Literal["centre", "head"] = "centre",
    every: int = 1,
) -> None:
    """Write images with points or boxes, or a video with its boxes, as images and a points.csv in a new folder.

    Parameters
    ----------
    source
        Any layout that counting reads (docs/counting.md), or a video, or a folder of one with gt.txt.
    out
        The new folder; nothing is ever written into the source.
    annotations
        Points or boxes, where they are not found beside the images.
    at
        Where a box is counted: at its centre, or at the head, in the middle of its upper part.
    every
        Take every so many-th image or frame.
    """
    print(f"tamis convert: {source} -> {out}", flush=True)
    from tamis.recipes.convert import convert_command

    convert_command(source, out, annotations=annotations, at=at, every=every)


@app.command
def export(source: Path, out: Path, *, annotations: Path | None = None, formats: list[Format] | None = None) -> None:
    """Write images with boxes as a new folder that other trainers and labelling tools read.

    Parameters
    ----------
    source
        Any layout that detection reads (docs/detection_data.md), such as what `tamis cull` wrote.
    out
        The new folder; nothing is ever written into the source.
    annotations
        Boxes, where they are not found beside the images.
    formats
        What to write; by default all of them, beside one copy of the images.
    """
    print(f"tamis export: {source} -> {out}", flush=True)
    from tamis.data.export import FORMATS
    from tamis.recipes.export import export_command

    export_command(source, out, annotations=annotations, formats=formats or FORMATS)


@app.command
def report(runs: list[Path], *, out: Path | None = None) -> None:
    """Write the page of a run, or one page that compares several.

    Parameters
    ----------
    runs
        Run folders; the first one with data parameters is the one whose suspects are shown. Or one culled folder.
    out
        The page; by default report.html in the first run folder.
    """
    print(f"tamis report: {', '.join(map(str, runs))}", flush=True)
    from tamis.recipes.commands import report_command

    report_command(runs, out)


@app.command
def curricula(runs: list[Path], *, out: Path | None = None, samples: list[str] | None = None) -> None:
    """Write a page on what runs of several seeds learned of classes and samples, and whether it is the same each time.

    Parameters
    ----------
    runs
        Run folders of one training with data parameters, each with another seed.
    out
        The page; by default curricula.html in the first run folder.
    samples
        Keys of samples to follow; by default two of one class, one that ends with a high sigma and one with a low.
    """
    print(f"tamis curricula: {', '.join(map(str, runs))}", flush=True)
    from tamis.recipes.curricula import curricula_command

    curricula_command(runs, out, samples or ())


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
    """Train on digits with 40 % wrong labels, count a crowd, fit a detector to a street; three minutes on two cores.

    Parameters
    ----------
    out
        Folder for the runs and the reports.
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
    show_config: Annotated[
        bool, Parameter(negative=(), help="Only show every setting of the command, its value and where it comes from.")
    ] = False,
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.")] = False,
) -> Any:
    sources = Sources(None if config is None else read_settings(config))
    app.config = (*sources.lines([name for name in app if not name.startswith("-")]), sources)
    try:
        command, bound, _ = app.parse_args(tokens)
    except (CycloptsError, ValueError) as error:
        raise ValueError(sources.explain(error, tokens)) from error
    if show_config:
        print(sources.table(bound.arguments))
        return None
    for beaten in sources.beaten:
        print(f"tamis: {beaten}", file=sys.stderr)
    keep_freed_memory()
    return command(*bound.args, **bound.kwargs)


def _search_here(model: str) -> None:
    """Look for a model of one's own in the working directory, too.

    Only then: torch and others try to import a dozen packages that may be missing, and a data folder that one works
    in could bring them along.
    """
    if ":" in model and not model.startswith(("timm:", "ultralytics:")):
        sys.path.append(str(Path.cwd()))


def main() -> None:
    """Run the command line: a user's mistake ends with one line on stderr, a signal with the command to go on."""
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
        # `tamis.fit.Stopped` says that everything is saved; it is known by name, since its module imports torch.
        state = "stopped and saved" if type(stop).__name__ == "Stopped" else "stopped"
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks for all
            print(f"\ntamis: {state}; to go on: {again}", file=sys.stderr)
        sys.exit(STOPPED + stop.args[0])


def _stop(number: int, frame: object) -> None:
    """End as Ctrl-C does; the second signal ends at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt(number)
