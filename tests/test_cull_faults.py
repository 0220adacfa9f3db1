"""Damaged films, and detectors and decoders that fail, within a whole `tamis cull` with the street's detectors."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

av = pytest.importorskip("av")

import tamis.cli  # noqa: E402
from broken_videos import cut_off, make_unreadable, make_video, with_hole  # noqa: E402
from cullings import digests_of_cull  # noqa: E402
from tamis.culling.sound import FailedDetector  # noqa: E402
from tamis.data.frames.picture import Picture  # noqa: E402
from tamis.data.street import StreetCamera, write_street  # noqa: E402
from tamis.detections import Detections, Detector  # noqa: E402
from tamis.models import open_detector  # noqa: E402
from tamis.recipes.cull import cull  # noqa: E402
from tamis.recipes.cull_config import CullConfig  # noqa: E402

COUNT = 160
STREET = ("--student", "street-student", "--teacher", "street-teacher", "--no-report")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 seconds of a street, one picture each, a key frame every 50."""
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    write_street(path, StreetCamera(7, 192, 108), range(40_000, 40_000 + 8 * COUNT, 8))
    return path


def packed_as(film: Path, path: Path) -> Path:
    """The same pictures in another container."""
    flags = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(film)) as source, av.open(str(path), "w", options=flags) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def decodable(path: Path) -> Iterator[int]:
    """Time stamps of the pictures that bare PyAV decodes and does not call damaged."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(video=0):
            with suppress(av.error.InvalidDataError):
                yield from (frame.pts for frame in packet.decode() if not frame.is_corrupt)


def settings(source: Path, out: Path, **changes: Any) -> CullConfig:
    chosen: dict[str, Any] = {"keep": 8, "report": False, "formats": ["coco"], "threads": 1, "device": "cpu"} | changes
    return CullConfig([source], student="street-student", teacher="street-teacher", out=out, **chosen)


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Code with which the command line ends."""
    monkeypatch.setattr(sys, "argv", ["tamis", "cull", *map(str, words)])
    try:
        tamis.cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def rows_of(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "manifest.parquet").to_pylist()


# ----- films ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(19, "a film with a hole or cut off: every frame that decodes is culled, and what is lost is told")
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".mkv", "hole"),
        (".mp4", "cut off"),
        pytest.param(".mp4", "hole", marks=pytest.mark.slow),
        pytest.param(".ts", "hole", marks=pytest.mark.slow),
        pytest.param(".mkv", "cut off", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_film_is_culled(
    film: Path,
    tmp_path: Path,
    suffix: str,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seen: Callable[..., None],
) -> None:
    whole = packed_as(film, tmp_path / f"whole{suffix}")
    times = set(decodable(whole))
    path = cut_off(whole) if damage == "cut off" else with_hole(whole, length=3000)
    before, out = hashlib.sha256(path.read_bytes()).digest(), tmp_path / "out"
    assert command(monkeypatch, path, *STREET, "--out", out, "--keep", 8) == 0
    result, rows = json.loads((out / "result.json").read_text()), rows_of(out)
    found = {row["pts"] for row in rows}
    assert [row["key"] for row in rows] == [f"{path.name}@{pts}" for pts in sorted(found)]
    good = {pts for pts in decodable(path) if pts in times}
    assert len(found & good) >= 0.95 * len(good)
    assert found <= times
    lost = result["counts"]["lost"]
    assert lost > 0
    assert len(rows) + lost == COUNT
    assert f"about {lost} frames could not be decoded" in capsys.readouterr().out
    names = {
        image["file_name"].removeprefix("images/") for image in json.loads((out / "coco.json").read_text())["images"]
    }
    assert names == {image.name for image in (out / "images").iterdir()}
    assert len(names) == 8 == result["counts"]["kept"]
    assert hashlib.sha256(path.read_bytes()).digest() == before
    seen(f"{suffix[1:]} {damage}: {len(rows)} culled, {lost} told as lost", count=1)


@pytest.mark.fault(19, "a film cut off where a batch ends: what is lost after the last frame is told, too")
def test_what_is_lost_at_the_end_is_told(film: Path, tmp_path: Path, seen: Callable[..., None]) -> None:
    path = cut_off(packed_as(film, tmp_path / "whole.mp4"))
    count = len(set(decodable(path)))
    result = cull(settings(path, tmp_path / "out", gate=False, batch_size=count, report=True))
    assert f"Not read: about {COUNT - count} frames in 1 place" in (tmp_path / "out" / "report.html").read_text()
    assert result["counts"]["frames"] == count
    assert [each["frames"] for each in result["lost"]] == [COUNT - count]
    seen(f"{count} frames in one batch, {COUNT - count} told as lost")


@pytest.mark.fault(19, "films that cannot be opened beside a good one are named and left out; named alone, refused")
def test_films_that_cannot_be_opened(
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seen: Callable[..., None],
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    bad = make_unreadable(folder)
    packed_as(film, folder / "z.mkv").rename(folder / "z.mp4")  # a wrong suffix is no fault
    out = tmp_path / "out"
    assert command(monkeypatch, folder, *STREET, "--out", out, "--keep", 4) == 0
    result, said = json.loads((out / "result.json").read_text()), capsys.readouterr().out
    assert [(each["source"], each["where"]) for each in result["lost"]] == [
        (path.name, "the whole video") for path in sorted(bad.values())
    ]
    assert all(f"left out: {path.name} (" in said for path in bad.values())
    assert result["counts"]["frames"] == COUNT
    for path in bad.values():
        assert command(monkeypatch, path, *STREET, "--out", tmp_path / "none") == 2
        text = capsys.readouterr().err
        assert text.startswith("tamis: video must be readable, got ")
        assert text.count("\n") == 1
        assert path.name in text
    seen(f"{len(bad)} of {len(bad)} named", count=2 * len(bad))


@pytest.mark.fault(19, "a film whose times are uneven: the first frame at or after every tick, by its time stamp")
def test_uneven_times(tmp_path: Path, seen: Callable[..., None]) -> None:
    times = [place * 40 + place % 3 * 13 + place // 30 * 700 for place in range(120)]  # milliseconds
    path = make_video(tmp_path / "uneven.mkv", 120, times=times, tick=Fraction(1, 1000), size=(192, 108))
    result = cull(settings(path, tmp_path / "out", fps=5, gate=False))
    ticked = {next(time for time in times if time >= tick) for tick in range(0, times[-1], 200)}
    assert {row["pts"] for row in rows_of(tmp_path / "out")} == ticked
    assert result["lost"] == []
    seen(f"{len(ticked)} frames of 5 a second")


# ----- failures ---------------------------------------------------------------------------------------------------


class Failing:
    """A detector that raises at one of its calls, once."""

    def __init__(self, spec: str, call: int, error: Exception) -> None:
        self.detector, self.call, self.error = open_detector(spec), call, error
        self.class_names = self.detector.class_names
        self.shown: list[int] = []

    def __call__(self, images: Tensor) -> list[Detections]:
        self.shown.append(len(images))
        if len(self.shown) == self.call:
            raise self.error
        return self.detector(images)


@pytest.fixture(scope="module")
def straight(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cull that nothing happened to."""
    out = tmp_path_factory.mktemp("straight") / "out"
    cull(settings(film, out, gate=False, batch_size=32, teacher_batch_size=8))
    return out


def failing(film: Path, out: Path, student: Detector | None = None, teacher: Detector | None = None) -> dict[str, Any]:
    return cull(settings(film, out, gate=False, batch_size=32, teacher_batch_size=8), student=student, teacher=teacher)


@pytest.mark.fault(33, "student or teacher raises in the middle of a cull: the frames are named, the rest is saved")
@pytest.mark.parametrize(
    ("who", "error", "hint"),
    [
        pytest.param(
            "student",
            RuntimeError("no kernel\nfor it"),
            "mend it, and the same command goes on with these frames",
            marks=pytest.mark.slow,
        ),
        ("teacher", torch.OutOfMemoryError("8 GiB"), "take a smaller teacher_batch_size, and another --out"),
    ],
)
def test_a_detector_that_raises(
    film: Path, tmp_path: Path, straight: Path, who: str, error: Exception, hint: str, seen: Callable[..., None]
) -> None:
    broken = Failing(f"street-{who}", 3, error)
    with pytest.raises(FailedDetector) as caught:
        failing(film, tmp_path / "out", **{who: broken})
    text, size = str(caught.value), broken.shown[-1]
    assert text == (
        f"{who} must take a batch of {size} frames, got {type(error).__name__}: {' '.join(str(error).split())} at "
        f"{caught.value.keys[0]!r} to {caught.value.keys[-1]!r}; {hint}"
    )
    assert caught.value.__cause__ is error
    rows = rows_of(straight)
    if who == "student":
        assert list(caught.value.keys) == [row["key"] for row in rows[64:96]]
    else:
        judged = [row["key"] for row in rows if row["precision"] is not None]
        assert list(caught.value.keys) == judged[16:24]
    again = Failing(f"street-{who}", 0, error)
    failing(film, tmp_path / "out", **{who: again})
    here, there = (dict(digests_of_cull(out)) for out in (tmp_path / "out", straight))
    del here["images by stage"], there["images by stage"]  # a callable's operations are not known
    assert here == there
    calls = -(-COUNT // 32) if who == "student" else 4
    assert len(again.shown) == calls - 2 + 4 * (who == "student")  # the student sees the survivors beside the teacher
    seen(f"{who}: the frames named, gone on with them to the same bytes")


@pytest.mark.fault(33, "a detector that raises ends the command with code 2 and one line")
def test_a_detector_that_raises_is_one_line(
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seen: Callable[..., None],
) -> None:
    (tmp_path / "broken_one.py").write_text(
        "class Broken:\n    class_names = ('car', 'person')\n"
        "    def __call__(self, images):\n        raise IndexError('beyond')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = [film, "--student", "broken_one:Broken", "--teacher", "street-teacher", "--out", tmp_path / "out"]
    assert command(monkeypatch, *words) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "student must take a batch of 32 frames, got IndexError: beyond at 'street.mp4@0' to " in text
    seen("code 2, one line")


@pytest.mark.fault(
    33, "the thread that decodes raises in the middle of a cull: the error comes out, all before is kept"
)
@pytest.mark.parametrize("call", [70, pytest.param(COUNT + 5, marks=pytest.mark.slow)])
def test_a_decoder_that_raises(
    film: Path, tmp_path: Path, straight: Path, call: int, monkeypatch: pytest.MonkeyPatch, seen: Callable[..., None]
) -> None:
    calls, rgb = [0], Picture.rgb

    def hungry(self: Picture, size: tuple[int, int] | None = None) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise MemoryError("no room for a picture")
        return rgb(self, size)

    with monkeypatch.context() as patch:
        patch.setattr(Picture, "rgb", hungry)
        with pytest.raises(MemoryError, match="no room"):
            failing(film, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "journal.jsonl").read_text().splitlines()]
    assert sum(len(line["key"]) for line in lines if line["kind"] == "scan") == min(call // 32 * 32, COUNT)
    failing(film, tmp_path / "out")
    assert digests_of_cull(tmp_path / "out") == digests_of_cull(straight)
    seen(f"at picture {call}: gone on to the same bytes")
