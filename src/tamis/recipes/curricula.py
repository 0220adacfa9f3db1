"""`tamis curricula`: the curricula that runs of several seeds learned, on one page."""

from collections.abc import Sequence
from pathlib import Path

from tamis.recipes.commands import pictures_of
from tamis.recipes.config import FREE, TrainConfig
from tamis.recipes.watching import plain_console
from tamis.report.class_curricula_page import write_curricula

# What the runs may differ in: where the data lies is no matter, and what it holds is compared by itself.
_MAY_DIFFER = FREE | {"seed", "data", "validation", "device", "compile", "history", "calibrate", "evaluate_every"}


def curricula_command(runs: Sequence[Path], out: Path | None, keys: Sequence[str] = ()) -> None:
    """Write the page; thumbnails are taken from the first run's data if it is still there, as it was.

    Raises:
        ValueError: runs that do not fit together, or no such sample.
        FileNotFoundError: a folder is no run.
    """
    check_seeds(runs)
    console = plain_console()
    pictures = pictures_of(runs[0]).get("thumbnails")
    with console.status("reading the runs"):
        page = write_curricula(runs, out, keys=keys, thumbnails=pictures)
    console.print(f"curricula: {page}")


def check_seeds(runs: Sequence[Path]) -> None:
    """Refuse runs that are not the same training with several seeds.

    Raises:
        ValueError: the first run that is no classification, or that differs in more than its seed, or not in that.
    """
    configs = [TrainConfig.read(run) for run in runs]
    seeds: dict[int, Path] = {}
    for run, config in zip(runs, configs, strict=True):
        if config.task != "classification":
            raise ValueError(f"runs must classify images, got the task {config.task} in {str(run)!r}; leave it out")
        ours, theirs = configs[0].plain(), config.plain()
        for name in sorted(ours.keys() - _MAY_DIFFER):
            if ours[name] != theirs[name]:
                raise ValueError(
                    f"runs must be the same training but for the seed, got {name} {theirs[name]!r} in {str(run)!r} and "
                    f"{ours[name]!r} in {str(runs[0])!r}; leave one out"
                )
        if config.seed in seeds:
            raise ValueError(
                f"runs must have different seeds, got seed {config.seed} in {str(seeds[config.seed])!r} and "
                f"{str(run)!r}; train again with another --seed"
            )
        seeds[config.seed] = run
