"""Frames of videos and images: every one, once, the same wherever reading begins, over damage, in bounded memory."""

import contextlib
import gc
import json
import subprocess
import sys
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

av = pytest.importorskip("av")

from broken_videos import cut_off, make_unreadable, make_video, pictures, with_damaged_packet, with_hole, without_middle  # noqa: E402
from tamis.data.frames import Frame, FrameRef, Frames, open_frames  # noqa: E402
from tamis.data.frames.sampling import Chooser, Sampling  # noqa: E402
from tamis.data.frames.sources import natural  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = [SHARED / "pets09_s2l1" / "vtest.avi", SHARED / "traffic" / "cKuhn517_traffic.mp4"]

CODECS = {
    "h264.mp4": {"codec": "libx264", "b_frames": 2},
    "open_gop.mp4": {"codec": "libx264", "b_frames": 2, "options": {"x264-params": "open-gop=1:bframes=2:b-adapt=0"}},
    "h264.mkv": {"codec": "libx264", "b_frames": 2, "audio": True},
    "h264.ts": {"codec": "libx264", "b_frames": 2},
    "h264.h264": {"codec": "libx264", "b_frames": 2},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "ten_bits.mkv": {"codec": "ffv1", "pixels": "yuv420p10le"},
    "grey.mkv": {"codec": "ffv1", "pixels": "gray"},
    "interlaced.mkv": {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}},
}


def seen(frames: "list[Frame] | object") -> list[tuple[FrameRef, str, bytes]]:
    return [(frame.ref, frame.key, frame.rgb().tobytes()) for frame in frames]  # type: ignore[attr-defined]


def check_anywhere(frames: Frames, step: int = 7, only: set[bytes] | None = None) -> list[tuple[FrameRef, str, bytes]]:
    """What a whole scan gives, after checking that scans from within and `take` give exactly parts of it.

    With `only`, frames with other pixels are not compared: those that show traces of damage differed in 2 of some 12
    runs with H.264, for a reason that was not found.
    """

    def compared(frames: list[tuple[FrameRef, str, bytes]]) -> list[tuple[FrameRef, str, bytes]]:
        return frames if only is None else [frame for frame in frames if frame[2] in only]

    whole = seen(frames.scan())
    assert len({key for _, key, _ in whole}) == len(whole)
    for place in range(0, len(whole), step):
        assert compared(seen(frames.scan(after=whole[place][0]))) == compared(whole[place + 1 :]), place
    some = compared(whole)[1::step]
    assert seen(frames.take([ref for ref, _, _ in some])) == some
    assert seen(frames.take([ref for ref, _, _ in some[::-1]])) == some[::-1]
    return whole


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_wherever_reading_begins(name: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, 50, **CODECS[name])
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    frames = open_frames([path])
    whole = check_anywhere(frames)
    assert [pixels for _, _, pixels in whole] == expected
    assert len(whole) == 50
    assert frames.lost == []
    assert whole[0][1] == f"{name}@{whole[0][0].pts}"
    assert frames.expected == 0 or 44 <= frames.expected <= 50  # none in a raw stream, a guess in MPEG-PS and TS


@pytest.mark.parametrize("fps", [0.7, 1, 5, 29.97, 100])
@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "mpeg4.avi", "h264.h264"])
def test_fps_is_the_first_frame_at_or_after_each_tick(name: str, fps: float, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, 100, **CODECS[name])
    everything = [(frame.seconds, frame) for frame in open_frames([path]).scan()]
    times = [round(30 * (seconds or 0)) for seconds, _ in everything]
    assert times == list(range(times[0], times[0] + 100))
    ticks = range(1 + int(4 * fps))
    wanted = {
        next(
            (frame for time, (_, frame) in zip(times, everything, strict=True) if time * Fraction(str(fps)) >= 30 * k),
            None,
        )
        for k in ticks
    }
    frames = open_frames([path], fps=fps)
    whole = check_anywhere(frames, 3)
    assert whole == sorted(seen(wanted - {None}))
    assert name.endswith(".h264") or abs(frames.expected - len(whole)) <= 1


def test_fps_and_every_of_a_variable_rate(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    times = np.cumsum(generator.integers(1, 400, 80)).tolist()
    times = [time - times[0] for time in times]
    path = make_video(tmp_path / "v.mkv", 80, times=times, tick=Fraction(1, 1000), b_frames=2)
    everything = seen(open_frames([path]).scan())
    assert [ref.pts for ref, _, _ in everything] == times
    chosen = {min((place for place in range(80) if times[place] >= 1000 * k / 2), default=None) for k in range(200)}
    wanted = [everything[place] for place in sorted(place for place in chosen if place is not None)]
    assert check_anywhere(open_frames([path], fps=2), 3) == wanted
    assert check_anywhere(open_frames([path], fps=2, every=3), 2) == wanted[::3]
    assert check_anywhere(open_frames([path], every=7), 2) == everything[::7]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 40), st.integers(1, 5), st.data())
def test_choosing_goes_on_anywhere(gaps: list[int], rate: int, every: int, data: st.DataObject) -> None:
    times = np.cumsum(gaps).tolist()
    chooser = Chooser(Sampling(Fraction(rate), every), Fraction(1, 100), 0)
    chosen = []
    earliest = 0
    for place in times:
        if chooser(place):
            assert place >= earliest  # what lies before may be skipped
            chosen.append(place)
            earliest = chooser.next_pts() or place
    if not chosen:
        return
    start = data.draw(st.integers(0, len(chosen) - 1))
    again = Chooser(Sampling(Fraction(rate), every), Fraction(1, 100), 0)
    again.passed(chosen[start])
    assert [place for place in times if place > chosen[start] and again(place)] == chosen[start + 1 :]


def test_take_decodes_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.data.frames.decoder import Decoder

    decoded = []
    pictures_of = Decoder._pictures
    monkeypatch.setattr(Decoder, "_pictures", lambda self, packet: decoded.append(packet) or pictures_of(self, packet))
    for name in ("h264.mp4", "h264.ts", "mpeg4.avi"):
        frames = open_frames([make_video(tmp_path / name, 400, **CODECS[name])])
        refs = [frame.ref for frame in frames.scan()]
        decoded.clear()
        assert [frame.ref for frame in frames.take([refs[100], refs[390]])] == [refs[100], refs[390]]
        assert len(decoded) < 80
        decoded.clear()
        next(frames.scan(after=refs[300]))
        assert len(decoded) < 80


DAMAGE = {
    "hole": with_hole,
    "zeros": lambda path: with_hole(path, zeros=True),
    "cut off": cut_off,
    "gap": lambda path: without_middle(path, 0.45, 0.5),
    "two holes": lambda path: with_hole(with_hole(path, 0.3), 0.7),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "mpeg4.avi", "mpeg2.mpg", "h264.h264"])
def test_damage(name: str, damage: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, 120, **{**CODECS[name], "audio": False})
    good = {pixels for _, _, pixels in seen(open_frames([path]).scan())}
    damaged = DAMAGE[damage](path)
    frames = open_frames([damaged])
    if (name, damage) == ("h264.mp4", "gap"):  # every sample after it is moved: garbage, but no hang and no crash
        assert len(list(frames.scan())) > 40
        return
    whole = check_anywhere(frames, 11, good if name.startswith("h264") else None)
    intact = sum(pixels in good for _, _, pixels in whole)
    lost = sum(entry.frames for entry in frames.lost)
    if damage == "cut off":
        assert len(whole) - 1 <= intact  # the last picture may be decoded from half of its bytes
        assert len(whole) > 60
        assert name in ("h264.ts", "h264.h264", "mpeg2.mpg", "mpeg4.avi") or abs(len(whole) + lost - 120) <= 1
    else:
        assert intact >= 120 - 3 * 12 * (2 if damage == "two holes" else 1)  # the rest of three groups of pictures
        guessed = name in ("h264.h264", "mpeg2.mpg", "mpeg4.avi")  # how long it is
        assert guessed or lost >= 120 - len(whole) - 2
    assert all(entry.source == damaged.name for entry in frames.lost)
    assert len(set(frames.lost)) == len(frames.lost)  # though it was scanned many times


def test_mp4_with_a_hole_keeps_all_but_the_damaged_picture(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 120, codec="mpeg4", size=(320, 240))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][65]
    middle = (packet.pos or 0) + packet.size // 2
    content[middle : middle + 30] = bytes(30)
    path.write_bytes(content)
    frames = open_frames([path])
    assert len(list(frames.scan())) == 119
    assert [(lost.where, lost.reason, lost.frames) for lost in frames.lost] == [("after 2.133 s", "damaged picture", 1)]


def test_a_codec_that_believes_the_damage_is_given_up(tmp_path: Path) -> None:
    """Noise can hold a header: FFmpeg's MPEG-4 then decodes nothing more to the end of the file."""
    path = with_damaged_packet(make_video(tmp_path / "a.mp4", 120, codec="mpeg4"), 65)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        usable = 0
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                usable += sum(not frame.is_corrupt for frame in packet.decode())
    assert usable < 75
    frames = open_frames([path])
    whole = check_anywhere(frames, 1)
    assert len(whole) >= 65 + 48  # all but the rest of one group of pictures
    assert sum(lost.frames for lost in frames.lost) == 120 - len(whole)


@pytest.mark.parametrize("what", ["zero bytes", "text", "no moov", "noise", "playlist", "concat", "sound"])
def test_unreadable(what: str, tmp_path: Path) -> None:
    path = make_unreadable(tmp_path)[what]
    with pytest.raises(ValueError, match=f"video must be readable, got .* in '{path.name}'; ") as error:
        open_frames([path])
    assert "\n" not in str(error.value)
    make_video(tmp_path / "z.mp4", 5)
    frames = open_frames([tmp_path])
    assert len(list(frames.scan())) == 5
    assert [(entry.source, entry.where) for entry in frames.lost if entry.source == path.name] == [
        (path.name, "the whole video")
    ]


def test_a_damaged_key_frame_is_not_begun_at(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 120, codec="mpeg4")
    path = with_damaged_packet(path, 4 * 12)
    whole = check_anywhere(open_frames([path]), 1)
    assert len(whole) >= 116
    assert check_anywhere(open_frames([path], fps=7), 1)


def test_pieces_joined_with_times_that_fall_back(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", 60)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(path.read_bytes() * 2)
    whole = check_anywhere(open_frames([joined]))
    assert len(whole) >= 119
    assert all(a[0] < b[0] for a, b in pairwise(whole))
    assert len(check_anywhere(open_frames([joined], fps=1), 1)) in (4, 5)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(rotation: int, tmp_path: Path) -> None:
    plain = next(open_frames([make_video(tmp_path / "a.mp4", 3, codec="mpeg4")]).scan())
    turned = next(open_frames([make_video(tmp_path / "b.mp4", 3, codec="mpeg4", rotation=rotation)]).scan())
    # PyAV and ffprobe count anticlockwise: a player turns the picture back by as much.
    upright = np.rot90(plain.rgb(), rotation // 90)
    np.testing.assert_array_equal(turned.rgb(), upright)
    assert (turned.width, turned.height) == upright.shape[1::-1]
    assert turned.rgb((33, 21)).shape == (21, 33, 3)
    assert turned.grey(33, 21).shape == (21, 33)


@pytest.mark.parametrize("name", ["h264.mp4", "grey.mkv", "ten_bits.mkv", "mjpeg.avi"])
def test_grey_is_the_mean_luma_of_areas(name: str, tmp_path: Path) -> None:
    frame = next(open_frames([make_video(tmp_path / name, 2, **CODECS[name])]).scan())
    grey = frame.grey(24, 16)
    assert grey.dtype == np.uint8
    luma = frame.rgb().astype(float) @ [0.299, 0.587, 0.114]
    means = luma.reshape(16, 4, 24, 4).mean((1, 3))
    assert np.abs(grey - means).mean() < 3


def test_pixels_are_those_that_were_written(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", 4, codec="ffv1", pixels="yuv444p", size=(53, 37))
    frames = list(open_frames([path]).scan())
    assert [(frame.width, frame.height) for frame in frames] == [(53, 37)] * 4
    for frame, picture in zip(frames, pictures(4, 53, 37), strict=True):
        assert np.abs(frame.rgb().astype(int) - picture).mean() < 2
        assert frame.rgb((20, 10)).shape == (10, 20, 3)
        assert frame.rgb().flags.c_contiguous


def test_frames_are_converted_in_any_thread(tmp_path: Path) -> None:
    frames = list(open_frames([make_video(tmp_path / "a.mp4", 8)]).scan())
    expected = [frame.rgb().tobytes() for frame in frames]
    found: list[list[bytes]] = []
    work = lambda: found.append([(frame.grey(8, 8), frame.rgb().tobytes())[1] for frame in frames])  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_size_that_changes(tmp_path: Path) -> None:
    small, large = (make_video(tmp_path / f"{width}.h264", 24, size=(width, 48)) for width in (64, 96))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = open_frames([both])
    assert [frame.rgb().shape for frame in frames.scan()] == [(48, 64, 3)] * 24 + [(48, 96, 3)] * 24


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tamis-frames"]


def interrupt(frames: Frames) -> None:
    for _ in frames.scan():
        raise KeyboardInterrupt


@pytest.mark.alone
def test_threads_and_files_end_with_the_user(tmp_path: Path) -> None:
    frames = open_frames([make_video(tmp_path / "a.mp4", 200)])
    scan = frames.scan()
    next(scan)
    assert workers()
    started = monotonic()
    scan.close()  # type: ignore[attr-defined]
    assert not workers()
    with pytest.raises(KeyboardInterrupt):
        interrupt(frames)
    gc.collect()
    assert not workers()
    next(frames.take([FrameRef(0, 0)] * 50))
    gc.collect()
    assert not workers()
    assert monotonic() - started < 2
    if Path("/proc/self/fd").exists():
        assert not [each for each in Path("/proc/self/fd").iterdir() if each.resolve().suffix == ".mp4"]


def test_a_scan_that_finds_nothing_can_be_stopped(tmp_path: Path) -> None:
    frames = open_frames([make_video(tmp_path / "a.h264", 3000, size=(32, 32))], every=10**9)
    scan = frames.scan()
    next(scan)
    scan.close()  # type: ignore[attr-defined]
    assert not workers()


def test_a_program_ends_while_frames_wait(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 300)
    code = "from tamis.data.frames import open_frames as o; s = o(['a.mp4']).scan(); next(s); raise SystemExit(3)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=False).returncode == 3


def test_errors_reach_the_user(tmp_path: Path) -> None:
    frames = open_frames([make_video(tmp_path / "a.mp4", 30)])
    for ref in (FrameRef(0, 1), FrameRef(0, 10**9), FrameRef(1, 0), FrameRef(0, -5)):
        with pytest.raises(ValueError, match="frame must be"):
            next(frames.scan(after=ref))
        with pytest.raises(ValueError, match="frame must be"):
            list(frames.take([ref]))
    assert not workers()


def images(folder: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), place * 9, np.uint8)).save(folder / name)
    return folder


def keys(*sources: str | Path, **options: int) -> list[str]:
    return [frame.key for frame in open_frames(sources, **options).scan()]


def test_folders_patterns_lists_and_documents(tmp_path: Path) -> None:
    images(tmp_path / "day", "10.png", "9.jpg", "b/2.bmp", ".hidden.png", "__MACOSX/x.png")
    make_video(tmp_path / "day" / "cam.mp4", 2)
    assert keys(tmp_path / "day") == ["9.jpg", "10.png", "b/2.bmp", "cam.mp4@0", "cam.mp4@512"]
    assert keys(f"{tmp_path}/day/*.png", tmp_path / "day" / "9.jpg") == ["10.png", "9.jpg"]
    assert keys(f"{tmp_path}/**/*.bmp") == ["2.bmp"]
    assert keys(tmp_path / "day" / "b", tmp_path / "day" / "cam.mp4") == ["b/2.bmp", "cam.mp4@0", "cam.mp4@512"]
    assert keys(tmp_path / "day" / "9.jpg", tmp_path / "day" / "9.jpg") == ["9.jpg"]
    (tmp_path / "list.txt").write_text(f"# mine\nday/10.png\n\n{tmp_path}/day/9.jpg\nday/cam.mp4\n./day/b/2.bmp\n")
    assert keys(tmp_path / "list.txt") == ["day/10.png", "day/9.jpg", "day/cam.mp4@0", "day/cam.mp4@512", "day/b/2.bmp"]
    document = {"images": [{"id": 4, "file_name": "b/2.bmp"}, {"id": 1, "file_name": "9.jpg"}], "annotations": []}
    (tmp_path / "day" / "coco.json").write_text(json.dumps(document))
    assert keys(tmp_path / "day" / "coco.json") == ["b/2.bmp", "9.jpg"]
    assert keys(tmp_path / "day", every=2) == ["9.jpg", "b/2.bmp", "cam.mp4@0"]


@pytest.mark.parametrize("name", ["../x.png", "/etc/hostname", "C:\\x.png", "a/../../x.png", "\\\\host\\x.png"])
def test_lists_do_not_lead_out_of_their_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{name}\n")
    (tmp_path / "coco.json").write_text(json.dumps({"images": [{"file_name": name}]}))
    for source in ("list.txt", "coco.json"):
        with pytest.raises(ValueError, match="file name must lead to a file below its folder"):
            open_frames([tmp_path / source])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [], "sources must name a video or images, got none"),
        (lambda folder: [folder / "no.mp4"], "source must be a file, a folder or a pattern"),
        (lambda folder: [f"{folder}/*.mp4"], "source must be a file, a folder or a pattern"),
        (lambda folder: ["http://example.org/a.mp4"], "source must be a file, a folder or a pattern"),
        (lambda folder: [folder], "source must hold images or videos, got none"),
    ],
)
def test_nothing_there(make, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_frames(make(tmp_path))


def test_settings_out_of_range(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps must be positive"):
            open_frames([tmp_path], fps=fps)
    with pytest.raises(ValueError, match="every must be 1 or more"):
        open_frames([tmp_path], every=0)
    with pytest.raises(TypeError, match="put it in a list"):
        open_frames(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "a b;$(touch x).mp4",
        "-i.mp4",
        "file:x.mp4",
        "concat:a|b.mp4",
        "=cmd().mp4",
        "<b>&.mp4",
        "line\nfeed.mp4",
        "[1].mp4",
    ],
)
def test_hostile_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "made.mp4", 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (first, second) = keys(name)
    assert first.isprintable()
    assert first != second
    assert keys(tmp_path) == [first, second]
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    images(tmp_path, "a\\x0a.png", "a\x0a.png", "a\udcff.png")
    found = keys(tmp_path)
    assert len(set(found)) == 3
    assert all(key.isprintable() and key.encode() for key in found)


def test_images_go_on_anywhere_and_bad_ones_are_named(tmp_path: Path) -> None:
    images(tmp_path, *(f"{place}.png" for place in range(12)))
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "7.png").write_bytes((tmp_path / "8.png").read_bytes()[:-9])
    frames = open_frames([tmp_path])
    whole = check_anywhere(frames, 1)
    assert [key for _, key, _ in whole] == [f"{place}.png" for place in range(12) if place not in (3, 7)]
    assert [(entry.source, entry.where, entry.frames) for entry in frames.lost] == [
        ("3.png", "the whole image", 1),
        ("7.png", "the whole image", 1),
    ]
    first = next(frames.scan())
    assert (first.seconds, first.width, first.height, first.grey(4, 3).tolist()) == (None, 8, 6, [[0] * 4] * 3)
    assert first.rgb((4, 2)).shape == (2, 4, 3)


def test_identity_tells_a_changed_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 5)
    images(tmp_path / "b", "1.png")
    before = open_frames([path, tmp_path / "b"], fps=2).identity()
    assert json.loads(json.dumps(before)) == before
    assert (before["fps"], before["every"], len(before["sources"])) == (2, 1, 2)
    assert open_frames([path, tmp_path / "b"], fps=2).identity() == before
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert open_frames([path, tmp_path / "b"], fps=2).identity() != before
    before = open_frames([tmp_path / "b"]).identity()
    images(tmp_path / "b", "2.png")
    assert open_frames([tmp_path / "b"]).identity() != before


@settings(max_examples=50)
@given(st.lists(st.text("ab019.é/", max_size=6), max_size=8))
def test_order_of_names(names: list[str]) -> None:
    assert sorted(names, key=natural) == sorted(names[::-1], key=natural)
    numbers = [f"frame_{number}.jpg" for number in range(120)]
    assert sorted(sorted(numbers), key=natural) == numbers


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_videos(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    frames = open_frames([path])
    whole = [(frame.ref, frame.grey(32, 24).tobytes()) for frame in frames.scan()]
    assert len(whole) == {"vtest.avi": 795}.get(path.name, 734)
    middle = len(whole) // 2
    assert [(frame.ref, frame.grey(32, 24).tobytes()) for frame in frames.scan(after=whole[middle][0])] == whole[
        middle + 1 :
    ]
    assert [(frame.ref, frame.grey(32, 24).tobytes()) for frame in frames.take([r for r, _ in whole[::97]])] == whole[
        ::97
    ]


@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    """A day of one frame a second: 86,400 frames."""
    path = make_video(tmp_path / "a.mp4", 4320, size=(64, 48), rate=1, gop=60)
    joined = [path, *(path.with_name(f"{number}.mp4") for number in range(19))]
    for copy in joined[1:]:
        copy.write_bytes(path.read_bytes())
    code = (
        "import resource, sys; from tamis.data.frames import open_frames\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "f = open_frames(sys.argv[1:]); s = f.scan(); next(s); a = peak(); n = 1 + sum(1 for _ in s)\n"
        "print(n, f.expected, peak() - a)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, joined)], capture_output=True, text=True, check=True)
    frames, expected, grown = map(int, done.stdout.split())
    assert (frames, expected) == (86_400, 86_400)
    assert grown < 50_000  # kB
