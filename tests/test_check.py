"""`tamis check`: every fault is named, nothing is written into the data, and what --fix writes can be trained with."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tamis.data import DeadWorker, FileImages, MemoryImages, open_images
from tamis.data.decode import Blobs
from tamis.data.fingerprint import fingerprint
from tamis.data.inspection import inspect, read_samples
from tamis.data.inspection.alike import _near_hashes, near_pairs, stars
from tamis.data.inspection.signatures import read_signatures
from tamis.data.open import open_undecoded
from tamis.history import write_samples
from tamis.recipes.check import check_command
from tamis.recipes.command_config import CheckConfig
from tamis.recipes.config import TrainConfig
from tamis.recipes.data import Data, excluded

SHARED = Path(__file__).resolve().parents[2] / "shared"


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A smooth picture of some blobs of colour, as different from another one as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits of two classes, 12 + 4 pictures, nothing wrong with them."""
    root = tmp_path / "data"
    for seed in range(16):
        split, label = ("val" if seed >= 12 else "train"), "ab"[seed % 2]
        save(root / split / label / f"{seed:02d}.png", picture(seed, (48 + seed, 40)))
    return root


def hashes(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def check(capsys: pytest.CaptureFixture[str], data: Path, **settings: Any) -> dict[str, Any]:
    """The JSON document, with the findings by kind and the exit code."""
    code = check_command(CheckConfig(data, json=True, workers=0, **settings))
    found = json.loads(capsys.readouterr().out)
    return found | {"code": code, "kinds": {each["kind"]: each for each in found["findings"]}}


def keys(finding: dict[str, Any]) -> list[str]:
    return [row["key"] for row in finding["rows"]]


def test_sound_data_has_no_findings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(capsys, data)
    assert (found["code"], found["findings"], found["exclude"]) == (0, [], [])
    assert found["images"] == {"train": 12, "validation": 4}
    assert found["classes"] == [{"name": name, "train": 6, "validation": 2} for name in "ab"]


@pytest.mark.fault(14, "exact and re-encoded copies are listed in groups; leaks between train and validation apart")
def test_copies_and_leaks(data: Path, capsys: pytest.CaptureFixture[str], seen: Callable[..., None]) -> None:
    _, two, three, four, five = (Image.open(data / f"train/{'ab'[n % 2]}/{n:02d}.png") for n in range(5))
    (data / "train/a/copy.png").write_bytes((data / "train/a/00.png").read_bytes())
    save(data / "train/b/pixels.bmp", two)
    save(data / "train/a/z50.jpg", three, quality=50)
    save(data / "train/b/zbig.png", four.resize((96, 80), Image.Resampling.BICUBIC))
    save(data / "train/b/conflict.png", five)
    save(data / "train/b/leak.png", Image.open(data / "val/b/13.png"))
    save(data / "train/a/near leak.jpg", Image.open(data / "val/a/12.png"), quality=80)
    found = check(capsys, data)
    groups = {kind: keys(finding) for kind, finding in found["kinds"].items()}
    assert groups == {
        "duplicate": ["train/a/00.png", "train/a/copy.png", "train/b/01.png", "train/b/pixels.bmp"],
        "conflict": ["train/a/04.png", "train/b/conflict.png"],
        "near_duplicate": ["train/a/02.png", "train/a/z50.jpg", "train/b/03.png", "train/b/zbig.png"],
        "leak": ["val/b/13.png", "train/b/leak.png"],
        "near_leak": ["val/a/12.png", "train/a/near leak.jpg"],
    }
    details = [row["detail"] for row in found["kinds"]["duplicate"]["rows"]]
    assert details == ["first", "same file", "first", "same pixels"]
    assert [row["group"] for row in found["kinds"]["duplicate"]["rows"]] == [1, 1, 2, 2]
    assert set(found["exclude"]) == {
        "train/a/copy.png",
        "train/b/pixels.bmp",
        "train/a/z50.jpg",
        "train/b/zbig.png",
        "train/a/04.png",
        "train/b/conflict.png",
        "train/b/leak.png",
        "train/a/near leak.jpg",
    }
    assert found["code"] == 1
    assert set(check(capsys, data, near=False)["kinds"]) == {"duplicate", "conflict", "leak"}
    seen("3 exact and 2 near copies, 1 exact and 1 near leak: 7 of 7 in their groups, none besides", count=7)


@pytest.mark.fault(14, "real photographs are recognised in another compression or size, and no others for them")
def test_copies_of_real_images(seen: Callable[..., None]) -> None:
    archive = SHARED / "data" / "cifar10_jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real images at {archive}")
    source = open_undecoded(archive, "validation")
    assert source is not None
    chosen = [source.thumbnail(place) for place in range(0, 10_000, 5)]
    files = [recoded(image, quality=95) for image in chosen]
    for image in chosen[:200]:
        files += [recoded(image, quality=80), recoded(image, quality=50)]
        files += [recoded(image.resize((side, side), Image.Resampling.BICUBIC), quality=80) for side in (24, 64)]
    look, _ = read_signatures(blobs(files))
    first, second = near_pairs(look["hash"], look["small"], look["contrast"])
    copies = [(int(one), int(two)) for one, two in zip(first, second, strict=True) if one < 2000 <= two]
    right = [(one, two) for one, two in copies if (two - 2000) // 4 == one]
    assert len(right) >= 795
    assert len(copies) - len(right) <= 4
    seen(f"{len(right)} of 800 copies found among 2,000 images, {len(copies) - len(right)} wrong", count=800)


def recoded(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def blobs(files: list[bytes]) -> FileImages:
    return FileImages(
        Blobs(files), torch.zeros(len(files), dtype=torch.int64), ("x",), list(map(str, range(len(files))))
    )


def test_plain_pictures_are_near_to_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (0, 1, 3, 128, 200, 230):
        save(data / f"train/a/plain{value}.jpg", Image.new("RGB", (64, 64), (value,) * 3))
    nearly = Image.new("L", (64, 64), 250)
    nearly.putpixel((5, 5), 0)
    save(data / "train/b/dot.png", nearly)
    found = check(capsys, data)
    assert set(found["kinds"]) == {"plain"}
    assert len(found["kinds"]["plain"]["rows"]) == 6


def test_faint_pictures_are_near_to_none() -> None:
    small = np.stack([np.asarray(picture(0, (8, 8)))] * 3) // 64
    hashes, contrast = np.full(3, 12345, np.uint64), np.array([3.9, 4, 5], np.float32)
    first, second = near_pairs(hashes, small, contrast)
    assert (first.tolist(), second.tolist()) == ([1], [2])


def test_every_broken_file_is_named_with_its_reason(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (data / "train/a/00.png").read_bytes()
    (data / "train/a/empty.png").touch()
    (data / "train/a/text.jpg").write_text("no image")
    (data / "train/b/half.png").write_bytes(whole[: len(whole) // 2])
    (data / "train/b/lost.png").symlink_to("/nowhere/at/all.png")
    (data / "val/b/empty.png").touch()
    before = hashes(data)
    broken = check(capsys, data)["kinds"]["broken"]
    reasons = {row["key"]: row["detail"] for row in broken["rows"]}
    names = ["train/a/empty.png", "train/a/text.jpg", "train/b/half.png", "train/b/lost.png"]
    assert sorted(reasons) == [*names, "val/b/empty.png"]
    assert all(reasons.values())
    assert broken["exclude"] == names
    assert hashes(data) == before


def test_sizes_balance_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(22):
        save(tmp_path / "train" / "ab"[seed >= 20] / f"{seed}.png", picture(seed))
    save(tmp_path / "train/c/dot.png", picture(30, (1, 1)))
    save(tmp_path / "train/c/strip.png", picture(31, (200, 20)))
    save(tmp_path / "val/a/0.png", picture(32))
    (tmp_path / "train" / "lynx").mkdir()
    found = check(capsys, tmp_path)["kinds"]
    assert keys(found["odd_size"]) == ["train/c/dot.png", "train/c/strip.png"]
    assert "10 times" in found["imbalance"]["summary"]
    assert [row["label"] for row in found["missing_class"]["rows"]] == ["train/lynx", "b", "c"]


def test_fix_writes_new_files_that_training_takes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train/a/copy of 0.png").write_bytes((data / "train/a/00.png").read_bytes())
    (data / "train/a/=empty.png").touch()
    out = tmp_path / "out"
    before = hashes(data)
    found = check(capsys, data, fix=out)
    assert (out / "exclude.txt").read_text() == "train/a/=empty.png\ntrain/a/copy of 0.png\n"
    table = (out / "findings.csv").read_text().splitlines()
    assert table[0] == "kind,group,split,key,label,detail"
    assert len(table) == 1 + sum(len(each["rows"]) for each in found["findings"])
    names = [path.relative_to(data).as_posix() for path in sorted((data / "train").rglob("*.png"))]
    train = blobs([b""] * len(names))
    source = FileImages(train.read, train.labels, train.class_names, names)
    assert excluded(out / "exclude.txt", Data(source, source)).sum() == 2
    with pytest.raises(FileExistsError, match=r"fix must be a folder without exclude.txt, got .*; choose another"):
        check(capsys, data, fix=out)
    with pytest.raises(ValueError, match=r"fix must be a folder outside of the data, got .*; choose another"):
        check(capsys, data, fix=data / "train" / "out")
    assert hashes(data) == before
    assert TrainConfig(data, exclude=out / "exclude.txt").exclude is not None


def test_keys_that_are_no_lines_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "train/a/two\nlines\x1b[31m.png").touch()
    check_command(CheckConfig(data, fix=tmp_path / "out", workers=0))
    shown = capsys.readouterr().out
    assert (tmp_path / "out" / "exclude.txt").read_text() == ""
    assert "cannot stand in exclude.txt" in shown
    assert "\x1b" not in shown


def remembered(data: Path, run: Path) -> None:
    """What a run writes down of its samples."""
    for name, split in (("samples.parquet", "train"), ("validation.parquet", "validation")):
        source = open_images(data, split)  # pyright: ignore[reportCallIssue, reportArgumentType]
        assert source is not None
        prints = fingerprint(source, "content")
        write_samples(run / "ledger", source.keys, source.labels, None, prints, name=name)


@pytest.mark.fault(
    18, "every file is named of which a byte has changed, though size and date are the same and it decodes"
)
@pytest.mark.parametrize("kind", ["files", "memory"])
def test_flipped_bytes_are_found(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], seen: Callable[..., None]
) -> None:
    for seed in range(60):
        size = (64, 64) if kind == "memory" else (60 + seed, 64)
        split = "val" if seed >= 50 else "train"
        save(tmp_path / "data" / split / "ab"[seed % 2] / f"{seed:02d}.bmp", picture(seed, size))
    remembered(tmp_path / "data", tmp_path / "run")
    assert isinstance(open_images(tmp_path / "data"), MemoryImages if kind == "memory" else FileImages)
    assert check(capsys, tmp_path / "data", against=tmp_path / "run")["code"] == 0
    files = sorted((tmp_path / "data").rglob("*.bmp"))
    chosen = [files[place] for place in np.random.default_rng(0).choice(60, 25, replace=False).tolist()]
    for number, path in enumerate(chosen):
        content, status = bytearray(path.read_bytes()), path.stat()
        content[-1 - 37 * number] ^= 1 << (number % 8)
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
    found = check(capsys, tmp_path / "data", against=tmp_path / "run")
    assert "broken" not in found["kinds"]
    names = {path.relative_to(tmp_path / "data").as_posix() for path in chosen}
    assert set(keys(found["kinds"]["changed"])) == names
    if kind == "files":
        assert {row["detail"] for row in found["kinds"]["changed"]["rows"]} == {
            "same size and date: damaged on the disk?"
        }
    seen("every file with a flipped bit named, no other", count=len(chosen))


def test_against_tells_what_it_cannot_compare(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    source = open_images(data)
    write_samples(run / "ledger", source.keys, source.labels, None)
    with pytest.raises(ValueError, match=r"against must be a run that has digests of its samples, got none in .*train"):
        check(capsys, data, against=run)
    write_samples(run / "ledger", source.keys, source.labels, None, fingerprint(source, "stat"))
    (data / "train/a/00.png").unlink()
    save(data / "train/a/02.png", picture(99, (90, 90)))
    found = check(capsys, data, against=run)
    assert keys(found["kinds"]["gone"]) == ["train/a/00.png"]
    assert keys(found["kinds"]["changed"]) == ["train/a/02.png"]
    assert "the run has no digest of 11 samples" in found["notes"][0]
    with pytest.raises(FileNotFoundError, match="give the folder of a run"):
        check(capsys, data, against=tmp_path / "nowhere")


def layouts(root: Path) -> Iterator[Path]:
    """Ten different pictures and a copy of the first, in every layout."""
    pictures = [picture(seed, (32, 32)) for seed in range(10)]
    pictures.append(pictures[0])
    labels = [place % 2 for place in range(11)]
    files = [recoded(image, quality=90) for image in pictures]
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        for place, content in enumerate(files):
            archive.writestr(f"{'ab'[labels[place]]}/{place:02d}.jpg", content)
    yield root / "archive.zip"
    pq.write_table(pa.table({"image": files, "label": labels}), root / "table.parquet")
    yield root / "table.parquet"
    for place, content in enumerate(files):
        (root / f"{place}.jpg").write_bytes(content)
    rows = "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(labels))
    (root / "table.csv").write_text("path,label\n" + rows)
    yield root / "table.csv"
    (root / "cifar").mkdir()
    planes = [bytes([labels[n]]) + np.asarray(pictures[n]).transpose(2, 0, 1).tobytes() for n in range(11)]
    for number in range(1, 6):
        part = planes[number * 2 - 2 : number * 2 if number < 5 else None]
        (root / "cifar" / f"data_batch_{number}.bin").write_bytes(b"".join(part))
    yield root / "cifar"
    (root / "idx").mkdir()
    grey = np.stack([np.asarray(image.convert("L")) for image in pictures])
    for name, values in (("images-idx3", grey), ("labels-idx1", np.array(labels, np.uint8))):
        head = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        (root / "idx" / f"train-{name}-ubyte").write_bytes(head + values.tobytes())
    yield root / "idx"


def test_every_layout_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in layouts(tmp_path):
        found = check(capsys, path)
        assert len(found["kinds"]["duplicate"]["rows"]) == 2, path
        assert set(found["kinds"]) <= {"duplicate", "missing_class"}, path
        assert "no validation split" in found["notes"][0]


def test_another_validation_set_has_names_of_its_own(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "cat").mkdir(parents=True)
    (other / "cat" / "1.png").write_bytes((data / "train/a/00.png").read_bytes())
    found = check(capsys, data, validation=other)["kinds"]
    assert keys(found["leak"]) == ["cat/1.png", "train/a/00.png"]
    assert found["leak"]["rows"][1]["detail"].endswith("with another label")
    assert [row["label"] for row in found["missing_class"]["rows"]] == ["a", "b", "cat"]


def test_workers_change_nothing(data: Path) -> None:
    (data / "train/a/empty.png").touch()
    source, other = open_images(data / "train"), open_images(data / "train")
    alone, together = read_samples(source, None), read_samples(other, None, workers=2)
    assert (alone.signatures == together.signatures).all()
    assert alone.reasons == together.reasons
    assert inspect(alone) == inspect(together)


@dataclass(frozen=True)
class Deadly:
    """Reads files, and is killed at one of them."""

    root: Path
    at: int

    def __call__(self, position: int) -> Path:
        if position == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.root / f"{position}.png"


def test_a_killed_worker_is_one_clear_error(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{place}.png", picture(place)).name for place in range(4)]
    source = FileImages(Deadly(tmp_path, 2), torch.zeros(4, dtype=torch.int64), ("a",), names)
    with pytest.raises(DeadWorker, match=r"killed by SIGKILL at '2.png', with 4 samples in flight .*memory may have"):
        read_signatures(source, workers=1)


def test_check_does_not_wait_for_matplotlib() -> None:
    code = "import sys, tamis.recipes.check; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tamis.recipes.check" in done.stdout.split()
    assert "matplotlib" not in done.stdout.split()


def test_command_line_ends_with_a_code(data: Path, tmp_path: Path) -> None:
    def typed(*words: str | Path) -> subprocess.CompletedProcess[str]:
        start = "from tamis.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", start, "check", "--workers", "0", *map(str, words)], capture_output=True, text=True
        )

    (data / "train/a/empty.png").touch()
    shown = typed(data)
    assert shown.returncode == 1
    assert shown.stdout.startswith("tamis check: ")
    assert "train/a/empty.png [a]  an empty file" in shown.stdout
    assert "--exclude OUT/exclude.txt" in shown.stdout
    wrong = typed(tmp_path / "nowhere", "--json")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_lookup_finds_what_comparing_all_finds() -> None:
    random_state = np.random.default_rng(0)
    base = random_state.integers(0, 1 << 63, 300, dtype=np.uint64)
    flips = np.zeros((10, 300), np.uint64)
    for row in flips:
        for bit in random_state.integers(0, 63, (7, 300), dtype=np.uint64):
            row ^= np.where(random_state.random(300) < 0.5, np.uint64(1) << bit, np.uint64(0))
    values = (base ^ flips).ravel()
    distance = np.bitwise_count(values[:, None] ^ values)
    expected = Counter(zip(*np.nonzero(np.triu(distance <= 5, 1)), strict=True))
    found = Counter(zip(*_near_hashes(values), strict=True))
    assert len(expected) > 3000
    assert found == expected


def test_groups_do_not_follow_chains() -> None:
    first, second = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])  # each is near the next
    assert stars(first, second, 6).tolist() == [0, 0, 2, 2, 4, 5]


def test_show_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="show must be at least 0, got -1; 0 shows all"):
        CheckConfig(Path("data"), show=-1)
