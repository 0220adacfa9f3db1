"""The demo's third chapter: a street camera's film culled, and a small detector fitted to it."""

from pathlib import Path

from rich.console import Console

from tamis.data.street import StreetCamera, write_street
from tamis.recipes.adapt import adapt
from tamis.recipes.adapt_config import AdaptConfig

FRAMES, KEEP, EPOCHS = 800, 64, 15
_CAMERA = 7  # the detectors were trained on cameras from 1000 on
_STEP = 86_400 // FRAMES  # seconds from frame to frame: a day


def culling_chapter(out: Path, console: Console, *, threads: int, seed: int) -> None:
    """Draw a day of a street, cull it, train on what is left, and compare with as many random frames."""
    film = out / f"street-{_CAMERA}.mp4"
    if not film.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_street(film, StreetCamera(_CAMERA), range(0, FRAMES * _STEP, _STEP))
    config = AdaptConfig(
        [film], student="street-student", teacher="street-teacher", out=out / "camera", keep=KEEP, epochs=EPOCHS,
        judge_share=0.2, judge_frames=100, compare=["random"], lr=2e-3, threads=threads, seed=seed,
    )  # fmt: skip
    result = adapt(config, Console(quiet=True))
    counts, judged = result["counts"], result["judged"]
    console.print(
        f"{counts['frames']:,} frames of a street, {counts['passed']:,} with something new, {counts['judged']:,} shown "
        f"to the teacher, {counts['kept']:,} kept; {judged['images']} later ones to judge by"
    )
    random = next(each["map50"] for each in result["strategies"] if each["name"] == "random")
    console.print(f"{'the student as it came':<27} mAP50 {100 * judged['untrained']:5.1f} %")
    console.print(f"{'trained on random frames':<27} mAP50 {100 * random:5.1f} %")
    seconds = sum(cost["seconds"] for cost in result["costs"])
    console.print(
        f"{'trained on what was kept':<27} mAP50 {100 * judged['trained']:5.1f} %; {seconds:.0f} s in all, everything "
        f"would take {result['factor']['seconds']:.0f} times as long (reckoned)"
    )
    console.print(f"report: {out / 'camera' / 'session-001' / 'report.html'}")
