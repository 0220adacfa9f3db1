"""The page of a culling: its figures, its size, hostile names, and folders that lack something."""

import html
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from culled_folders import HEIGHT, WIDTH, Camera, frame_of, hostile, write_culled
from tamis.report.boxed_pictures import path_of
from tamis.report.cull_charts import chosen_scale, resolution_charts
from tamis.report.cull_page import write_cull_page
from tamis.report.cull_pictures import Pictures, frame_pictures, groups, pictured_keys
from tamis.report.cull_reading import Words, is_culled, read_culled
from tamis.report.cull_table import ROWS, frame_table
from tamis.report.cull_tables import ClassRow, class_balance, class_warnings, costs, lost_frames, operations
from tamis.report.cull_time import clock, time_of
from tamis.report.cull_verdict import verdict
from test_report_page import words
from test_report_safety import CHROMIUM, HOSTILE, Elements, assert_harmless, browse

SMALL = Camera(n=300, keep=16, survivors=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_culled(tmp_path_factory.mktemp("cull") / "street", Camera())


@pytest.fixture(scope="module")
def page(folder) -> str:
    return shown(folder)


def shown(folder: Path) -> str:
    keys = pq.read_table(folder / "manifest.parquet")["key"].to_pylist()
    position = {key: at for at, key in enumerate(keys)}
    return write_cull_page(folder, lambda key: frame_of(position[key])).read_text(encoding="utf-8")


def plain(page: str) -> str:
    return html.unescape(words(page)).replace("\u00a0", " ")


def table_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def change_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_verdict_has_the_figures_and_says_what_was_measured(page):
    text = plain(page)
    assert "Kept 64 of 2,000 frames (3.2 %)." in text
    assert "mAP50 of 0.893 on 400 frames that it was not trained on, with the teacher's boxes as truth" in text
    assert "0.885 trained on all and 0.586 untrained" in text
    assert "17.9 times less than training on every frame" in text
    assert "18.7 times less by FLOPs; what it took was measured, the full training is extrapolated." in text


def test_the_verdict_says_nothing_that_is_not_known(tmp_path):
    folder = write_culled(tmp_path / "c", replace(SMALL, judged=False))
    (folder / "result.json").write_text("{}")
    assert verdict(read_culled(folder)) == "Kept 16 of 300 frames (5.3\u00a0%)."


def test_every_section_is_there(page):
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Cost",
        "Other ways to choose",
        "The video",
        "Where it cut",
        "Before and after",
        "Resolution",
        "Drift",
        "Frames",
        "All frames",
        "Frames that were not read",
        "Reproduce",
    ]
    assert re.findall(r"<h3>([^<]*) <span", page) == [
        "Hardest kept",
        "At the border",
        "Easiest dropped",
        "Not shown to the teacher",
    ]


def test_costs_add_up_and_unknown_operations_of_a_network_stay_unknown(folder, tmp_path):
    rows = costs(read_culled(folder))
    assert [row.stage for row in rows] == [
        "decode",
        "gate",
        "student prediction",
        "teacher prediction",
        "student training",
        "total",
    ]
    told = json.loads((folder / "result.json").read_text())
    own = sum(entry["flops"] or 0 for entry in told["costs"])
    total, full = rows[-1].culled, rows[-1].full
    assert total
    assert full
    assert total.flops == operations(own)
    assert not full.measured
    assert total.measured
    other = write_culled(tmp_path / "c", SMALL)
    change_json(other / "result.json", lambda result: result["costs"][3].update(flops=None))
    assert costs(read_culled(other))[-1].culled.flops == "\u2013"  # pyright: ignore[reportOptionalMemberAccess]


def test_class_balance_is_that_of_a_recount(folder):
    culled = read_culled(folder)
    manifest = pq.read_table(folder / "manifest.parquet").to_pylist()
    kept = {row["position"] for row in manifest if row["stage"] == "kept"}
    boxes = pq.read_table(folder / "detections.parquet").to_pylist()
    boxes = [box for box in boxes if box["who"] == "teacher" and box["score"] >= 0.7]
    before = Counter(box["label"] for box in boxes)
    after = Counter(box["label"] for box in boxes if box["position"] in kept)
    rows = class_balance(culled, 0.7)
    assert {row.name: (row.before, row.after) for row in rows} == {
        ("car", "person")[label]: (before[label], after[label]) for label in before
    }
    assert [row.before for row in rows] == sorted(before.values(), reverse=True)


def test_a_class_that_is_lost_is_told(tmp_path):
    folder = write_culled(tmp_path / "c", SMALL)
    table = pq.read_table(folder / "detections.parquet")
    kept = {row["position"] for row in pq.read_table(folder / "manifest.parquet").to_pylist() if row["stage"] == "kept"}
    labels = [0 if position in kept else 2 for position in table["position"].to_pylist()]
    pq.write_table(table.set_column(7, "label", pa.array(labels)), folder / "detections.parquet")
    rows = class_balance(read_culled(folder), 0.0)
    told = class_warnings(rows)
    assert len(told) == 1
    assert "No kept frame has a box of bicycle" in told[0]
    assert told[0] in plain(shown(folder))


def test_a_class_that_shrinks_is_told():
    rows = [ClassRow("car", 90, 40, 0.9, 0.98), ClassRow("bus", 10, 1, 0.1, 0.02), ClassRow("tram", 10, 4, 0.1, 0.06)]
    assert class_warnings(rows) == ["The share of bus among the teacher's boxes fell from 10.0\u00a0% to 2.0\u00a0%."]


def test_what_happened_on_the_way_is_told(page):
    text = plain(page)
    assert "went on after frame 1,200 of a run that was ended" in text
    assert "Boxes without an area or with a number that is none were left out: 2 of the student." in text


@pytest.mark.parametrize("content", [None, "{", "[]", '{"images": [{"id": 1}, {"key": "a"}]}'])
def test_without_a_good_coco_file_kept_frames_are_asked_for(tmp_path, content):
    folder = write_culled(tmp_path / "c", SMALL)
    (folder / "coco.json").unlink()
    if content is not None:
        (folder / "coco.json").write_text(content)
    kept = read_culled(folder).keys.filter(pa.array(read_culled(folder).kept)).to_pylist()
    assert set(kept) <= set(pictured_keys(folder))


def test_cards_are_ordered_by_precision_and_the_border_has_both_sides(folder):
    culled = read_culled(folder)
    hardest, border, easiest, unseen = groups(culled, Pictures(culled, None), 0.5)
    found = [float(card["precision"]) for card in hardest.cards]
    assert found == sorted(found)
    assert found[0] == pytest.approx(np.nanmin(culled.precision), abs=0.005)
    assert all(card["kept"] for card in hardest.cards)
    assert [card["kept"] for card in border.cards] == [True] * 12 + [False] * 12
    assert max(float(card["precision"]) for card in border.cards[:12]) <= float(border.cards[12]["precision"])
    assert float(easiest.cards[0]["precision"]) == pytest.approx(np.nanmax(culled.precision[~culled.kept]), abs=0.005)
    assert float(unseen.cards[0]["score"]) == pytest.approx(np.nanmax(culled.score[~culled.taught]), abs=0.005)


def test_pictures_of_kept_frames_come_from_the_folder_and_others_are_asked_for(folder):
    asked: list[str] = []

    def picture(key: str) -> np.ndarray:
        asked.append(key)
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    culled = read_culled(folder)
    found = groups(culled, Pictures(culled, picture), 0.5)
    assert set(asked) == {card["key"] for group in found for card in group.cards if not card["kept"]}
    assert asked == pictured_keys(folder)
    position = {key: at for at, key in enumerate(culled.keys.to_pylist())}
    assert asked == sorted(set(asked), key=lambda key: position[key])
    assert all(card["picture"] for group in found for card in group.cards)
    assert groups(culled, Pictures(culled, None), 0.5)[2].cards[0]["picture"] is None


def test_pictures_stop_at_their_budget(folder, monkeypatch):
    monkeypatch.setattr("tamis.report.cull_pictures.BYTES", 100_000)
    noise = np.random.default_rng(0).integers(255, size=(200, 200, 3), dtype=np.uint8)
    pictures = Pictures(read_culled(folder), lambda _: noise)
    found = [pictures.load(f"dropped {at}") for at in range(9)]
    assert 0 < sum(len(each["uri"]) for each in found if each) <= 100_000
    assert found[-1] is None
    assert pictures.spent


@pytest.mark.parametrize("name", ["../secret.png", "{absolute}", "images/../../secret.png", "images/link.png"])
def test_no_picture_outside_the_folder_is_opened(tmp_path, name):
    folder = write_culled(tmp_path / "c", SMALL)
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    (folder / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    culled = read_culled(folder)
    assert Pictures(culled, None).large("k", name.format(absolute=tmp_path / "secret.png")) is None
    change_json(folder / "coco.json", lambda coco: coco["images"][0].update(file_name=name, key="outside"))
    assert Pictures(culled, None).load("outside") is None
    change_json(folder / "coco.json", lambda coco: coco["images"][1].update(key="inside"))
    assert Pictures(culled, None).load("inside")


class FakeFrame:
    """A frame as `take` gives it."""

    def __init__(self, key: str) -> None:
        self.key = key

    def rgb(self) -> np.ndarray:
        return np.full((2, 2, 3), int(self.key), np.uint8)


class FakeFrames:
    """Frames of which some cannot be read."""

    lost = (4, 6)

    def take(self, refs):
        self.asked = list(refs)
        return (FakeFrame(str(ref)) for ref in refs if ref not in self.lost)


def test_frames_are_read_in_one_pass_and_the_unreadable_are_none():
    frames, keys = FakeFrames(), [str(at) for at in range(2, 8)]
    picture = frame_pictures(frames, {key: int(key) for key in (*keys, "99") if key != "3"}, keys)
    found = [picture(key) for key in ("2", "3", "99", "4", "5", "5", "7", "6", "2")]
    assert frames.asked == [2, 4, 5, 6, 7]
    assert [None if each is None else int(each[0, 0, 0]) for each in found] == [2, *[None] * 3, 5, None, 7, None, None]


def test_a_hundred_thousand_frames_stay_below_five_megabytes(tmp_path):
    camera = Camera(n=100_000, keep=256, survivors=1024)
    folder = write_culled(tmp_path / "c", camera)
    random = np.random.default_rng(0)
    page = write_cull_page(folder, lambda _: random.integers(255, size=(HEIGHT, WIDTH, 3), dtype=np.uint8))
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    columns = table_of(text)["columns"]
    culled = read_culled(folder)
    assert len(columns["key"]) == ROWS
    sure = culled.kept | culled.taught
    assert set(culled.keys.filter(pa.array(sure)).to_pylist()) <= set(columns["key"])
    assert len(set(columns["key"])) == ROWS
    assert f"{ROWS:,} of 100,000" in plain(text)


def test_long_keys_shrink_the_table_and_not_the_page_s_limit(tmp_path):
    camera = replace(SMALL, keys=["<" * 4000 + str(at) for at in range(300)])
    text, count = frame_table(read_culled(write_culled(tmp_path / "c", camera)))
    assert 1 <= count < 300
    assert len(text) <= 2_000_000
    assert "<" not in text


@pytest.mark.parametrize("count", [1, 7, 60, 61, 299, 300])
def test_the_sample_of_frames_holds_kept_first_and_is_even(folder, count, monkeypatch):
    monkeypatch.setattr("tamis.report.cull_table.ROWS", count)
    culled = read_culled(folder)
    text, told = frame_table(culled)
    columns = json.loads(text)["columns"]
    assert told == len(columns["key"]) == len(set(columns["key"])) == count
    kept = set(culled.keys.filter(pa.array(culled.kept)).to_pylist())
    assert len(kept & set(columns["key"])) == min(count, len(kept))


EMPTY_STRATEGIES = {
    "random": Camera(n=200, keep=20, survivors=20, teacher=False, gate=False),
    "one frame": Camera(n=1, keep=1, survivors=1, sources=("a.mp4",), judged=False),
    "images": replace(SMALL, timed=False, sources=("images",)),
    "all kept": Camera(n=50, keep=50, survivors=50, gate=False),
    "no frames": Camera(n=0, keep=0, survivors=0, sources=("a.mp4",), judged=False),
}


@pytest.mark.parametrize("name", EMPTY_STRATEGIES)
def test_other_folders_have_a_page_too(tmp_path, name):
    folder = write_culled(tmp_path / "c", EMPTY_STRATEGIES[name])
    if name == "random":
        table = pq.read_table(folder / "manifest.parquet")
        table = table.set_column(7, "score", pa.nulls(len(table), pa.float64()))
        pq.write_table(table, folder / "manifest.parquet")
    text = plain(shown(folder))
    assert f"Kept {EMPTY_STRATEGIES[name].keep:,} of {EMPTY_STRATEGIES[name].n:,} frames" in text
    assert "nan" not in re.sub(r"\bnan[a-z]", "", text).split()


def test_a_folder_without_what_is_optional_has_a_page(tmp_path):
    folder = write_culled(tmp_path / "c", replace(SMALL, judged=False))
    for name in ("run.json", "detections.parquet", "resolution.json", "coco.json"):
        (folder / name).unlink()
    (folder / "result.json").write_text("{}")
    page = write_cull_page(folder, out=tmp_path / "elsewhere.html")
    assert page == tmp_path / "elsewhere.html"
    assert "Kept 16 of 300" in page.read_text(encoding="utf-8")


def test_what_is_no_culled_folder_is_refused(tmp_path):
    assert not is_culled(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^folder must hold manifest\.parquet .* run `tamis cull` first"):
        write_cull_page(tmp_path)


def test_boxes_are_joined_by_position_and_strange_ones_left_out(tmp_path):
    folder = write_culled(tmp_path / "c", SMALL)
    table, shuffled = pq.read_table(folder / "manifest.parquet"), np.random.default_rng(0).permutation(300)
    spread = table.set_column(0, "position", pa.array(np.arange(300) * 5))
    pq.write_table(spread.take(shuffled), folder / "manifest.parquet")
    boxes = pq.read_table(folder / "detections.parquet").slice(0, 3)
    for column, values in (("position", [50, 51, 10**12]), ("who", ["teacher"] * 3)):
        boxes = boxes.set_column(boxes.column_names.index(column), column, pa.array(values))
    pq.write_table(boxes, folder / "detections.parquet")
    culled = read_culled(folder)
    assert culled.keys.to_pylist() == table["key"].to_pylist()
    assert culled.teacher.rows.tolist() == [10]
    assert len(culled.teacher.on(10)[0]) == 1
    assert len(culled.teacher.on(9)[0]) == len(culled.student.on(10)[0]) == 0


def test_an_outline_is_of_numbers_only():
    assert path_of([[1, 2, 30.4, 40.6, 0.9, 1]]) == "M1 2H30V41H1Z"
    assert path_of([["<script>", 0, 1, 1], [float("nan"), 0, 1, 1], [1], None, [0, 0, float("inf"), 1]]) == ""  # pyright: ignore[reportArgumentType]


def test_the_time_axis_has_sources_after_each_other_and_gaps(folder):
    culled = read_culled(folder)
    when = clock(culled)
    assert when.unit == "minutes"
    assert (np.diff(when.at) > 0).all()
    assert len(when.starts) == 1
    ((start, end),) = when.gaps
    assert (end - start) * 60 == pytest.approx(60)
    assert start * 60 == pytest.approx(500.5)


@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40, unique=True),
    st.integers(1, 5),
)
def test_the_time_axis_ascends_whatever_the_sources(times, sources):
    codes = np.sort(np.arange(len(times)) % sources).astype(np.int32)
    seconds = np.concatenate([np.sort(np.array(times)[codes == code]) for code in range(sources)])
    culled = FakeTimes(seconds, codes)
    when = clock(culled)  # pyright: ignore[reportArgumentType]
    assert len(when.starts) == len(set(codes.tolist())) - 1
    assert (np.diff(when.at) >= 0).all()
    assert when.at[0] == 0
    assert all(0 <= start < end <= when.at[-1] for start, end in when.gaps)


class FakeTimes:
    """As much of a culled folder as a clock needs."""

    def __init__(self, seconds: np.ndarray, codes: np.ndarray) -> None:
        self.seconds = seconds
        self.source = Words([str(code) for code in range(9)], codes)

    def __len__(self) -> int:
        return len(self.seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (75.25, "1:15.2"), (59.96, "1:00"), (3675, "1:01:15"), (float("nan"), ""), (-2.5, "-0:02.5")],
)
def test_times_are_told_as_a_player_does(seconds, text):
    assert time_of(seconds) == text


def test_lost_frames_are_counted_with_what_is_not_known(folder, tmp_path):
    rows, count = lost_frames(read_culled(folder))
    assert count == "about 60 or more frames in 2 places"
    assert [row["frames"] for row in rows] == ["about 60", "?"]
    other = write_culled(tmp_path / "c", SMALL)
    change_json(other / "result.json", lambda result: result.update(lost=result["lost"][1:]))
    assert lost_frames(read_culled(other))[1] == "frames in 1 place"


def test_the_chosen_scale_is_a_place_or_a_scale():
    scales = [1.0, 0.9, 0.81]
    assert [chosen_scale({"scales": scales, "chosen": chosen}) for chosen in (2, 1, 0.9, 1.0, None)] == [2, 1, 1, 0, 0]
    assert resolution_charts(None) == []
    assert len(resolution_charts({"scales": scales, "errors": [0.0, None, 0.3], "chosen": 1})) == 1


def test_charts_hold_no_word_of_the_user(page):
    for svg in re.findall(r"<svg viewBox.*?</svg>", page, re.S):
        assert "cam" not in svg
        assert "car" not in svg


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory) -> Path:
    folder = write_culled(tmp_path_factory.mktemp("hostile") / "c", hostile(HOSTILE))
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "coco.json").unlink()
    table = pq.read_table(folder / "manifest.parquet")
    texts = pa.array((HOSTILE * 20)[: len(table)])
    for column in ("stage", "reason"):
        given = table[column].to_pylist()
        values = pa.array([old if old == "kept" else new.as_py() for old, new in zip(given, texts, strict=True)])
        table = table.set_column(table.column_names.index(column), column, values)
    pq.write_table(table, folder / "manifest.parquet")

    def worse(result):
        result["lost"] = [dict.fromkeys(("source", "where", "reason", "frames"), name) for name in HOSTILE]
        for rows, name in (
            (result["strategies"], "name"),
            (result["drift"]["sessions"], "name"),
            (result["costs"], "stage"),
        ):
            for row, text in zip(rows, HOSTILE, strict=False):
                row[name] = text
        for model, text in zip(result["before_after"]["models"], HOSTILE, strict=False):
            model.update(name=text, width=text, height=text, map50=text, flops=text)
        for frame in result["before_after"]["frames"]:
            frame.update(key=HOSTILE[0], image=HOSTILE[1], truth=[[HOSTILE[0]] * 6], boxes=[[[HOSTILE[1]] * 4]])
        result["judged"] |= {"truth": HOSTILE[0], "trained": HOSTILE[1]}
        result["factor"] = {"seconds": HOSTILE[0], "flops": HOSTILE[1]}

    change_json(folder / "result.json", worse)
    change_json(
        folder / "run.json",
        lambda about: about.update(
            command=HOSTILE[0], created=HOSTILE[1], config={name: name for name in HOSTILE}, tamis=HOSTILE[2]
        ),
    )
    return write_cull_page(folder)


def test_hostile_names_are_text(hostile_page):
    text = hostile_page.read_text(encoding="utf-8")
    assert_harmless(Elements(text))
    assert "{{7*7}}" in text
    assert text.count("</script>") == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")


def test_every_picture_is_inside_the_page(page):
    found = [attributes.get("src") or "" for tag, attributes in Elements(page).found if tag == "img"]
    assert len(found) > 50
    assert all(src.startswith("data:image/jpeg;base64,") for src in found)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_runs_no_payload(hostile_page, tmp_path):
    log = tmp_path / "net.json"
    dom, console = browse(hostile_page, tmp_path, f"--log-net-log={log}")
    elements = Elements(dom)
    assert_harmless(elements)
    assert "<title>c – tamis culling</title>" in dom
    for name in HOSTILE:
        assert name.replace("\x00", "\ufffd") in elements.cells or name in elements.cells, name
    assert "Content Security Policy" not in console
    assert "tamis.invalid" not in log.read_text(errors="replace")


PROBE = """
const out = {};
const cells = (n) => [...document.querySelectorAll("#table tbody tr")].map((tr) => tr.cells[n].textContent);
const found = () => document.getElementById("found").textContent;
const set = (id, text, event) => {
  document.getElementById(id).value = text;
  document.getElementById(id).dispatchEvent(new Event(event));
};
out.wide = document.documentElement.scrollWidth - window.innerWidth;
out.heads = [...document.querySelectorAll("#table th")].map((th) => th.textContent);
out.scores = cells(1).map(Number);
set("search", "KEPT, WHOSE", "input"); out.reason = found(); out.reasons = [...new Set(cells(3))];
set("search", "", "input"); set("filter", "Stage: kept", "change");
out.kept = found(); out.stages = [...new Set(cells(3))];
const pre = Object.assign(document.createElement("pre"), { id: "out", textContent: JSON.stringify(out) });
document.body.replaceChildren(pre);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_sorts_and_searches_the_frames(page, tmp_path):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    dom, _ = browse(probed, tmp_path, "--window-size=400,800")
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    out = json.loads(found[1])
    assert out["wide"] <= 0
    assert out["heads"] == ["Frame", "Score", "Time, s", "Stage", "Change", "AP", "Student's boxes", "Reason"]
    assert out["scores"] == sorted(out["scores"], reverse=True)
    assert (out["reason"], out["reasons"]) == ("192 frames", ["stage 2"])
    assert (out["kept"], out["stages"]) == ("64 frames", ["kept"])
