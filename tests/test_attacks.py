"""Hostile files: nothing in them is run, nothing outside is read or written, none of them fills the memory."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from attacks import bombs, folders, markup, paths, pickles
from attacks.victims import Answer, ask_all
from tamis.checkpoint import load_checkpoint
from tamis.data import open_images
from tamis.data.cifar import load_plain
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import train
from tamis.run import checkpoint_of


def picture(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


def pictures(folder: Path, classes: str = "ab", count: int = 10) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for place in range(count):
            (folder / name / f"{place}.png").write_bytes(picture(20 * place))
    return folder


def tree(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder; of a link where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images as `plain` and a run as `run`."""
    here = tmp_path_factory.mktemp("trained")
    pictures(here / "plain")
    config = TrainConfig(
        here / "plain", out=here / "run", epochs=1, threads=1, workers=0, data_parameters="instance", calibrate=False
    )
    train(config)
    settings = {name: value for name, value in config.plain().items() if value is not None and name != "out"}
    (here / "trained.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items()))
    return here


@pytest.fixture
def here(tmp_path: Path, trained: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "here"))


# ----- code in data -----------------------------------------------------------------------------------------------

TRAIN = ("train", "--epochs", "1", "--workers", "0", "--no-report", "--data")


def folder_of_cifar(here: Path, name: str, content: bytes) -> str:
    (here / name).mkdir()
    (here / name / "data_batch_1").write_bytes(content)
    for number in range(2, 6):
        (here / name / f"data_batch_{number}").write_bytes(content)
    return name


def run_with(here: Path, name: str, file: str, content: bytes) -> str:
    """A copy of the run with one file replaced; a file of a checkpoint fits its manifest."""
    run = Path(shutil.copytree(here / "run", here / name))
    if not file.startswith("checkpoint/"):
        (run / file).write_bytes(content)
        return name
    (run / "result.json").unlink()  # the training goes on
    for folder in (run / "checkpoints").iterdir():
        if folder.is_dir():
            path = folder / file.removeprefix("checkpoint/")
            path.write_bytes(content)
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["files"][path.name] = hashlib.sha256(content).hexdigest()
            manifest.pop("sha256")
            manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
            (folder / "manifest.json").write_text(json.dumps(manifest))
    return name


def code_attacks(here: Path, canary: Path) -> Iterator[tuple[str, list[str], str]]:
    """Name of the attack, the command line, and what its answer must say."""

    def file(name: str, content: bytes | str) -> str:
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    weights = [*TRAIN, "plain", "--weights"]
    refused = "nothing in it was run"
    for name, content in {
        "zip.pt": pickles.torch_zip(canary),
        "zip.pth": pickles.torch_zip(canary),
        "old.pt": pickles.torch_old(canary),
        "tar.pth": pickles.torch_tar(canary),
        "forged.pt": pickles.zip_of_pickles(canary),
        "pickle.pt": pickles.plain(canary),
        "pickle.safetensors": pickles.plain(canary),
        "zip.safetensors": pickles.torch_zip(canary),
    }.items():
        yield f"weights {name}", [*weights, file(name, content)], refused
    yield "weights .npz", [*weights, file("w.npz", pickles.npz(canary))], "weights must be a .safetensors, .pt or .pth"
    noise = [*TRAIN, "plain", "--noise"]
    yield "numpy objects", [*noise, file("objects.npz", pickles.npz(canary))], "could run code and is not opened"
    yield "npy as npz", [*noise, file("npy.npz", pickles.numpy_objects(canary))], "could run code and is not opened"
    yield "pickle as npz", [*noise, file("plain.npz", pickles.plain(canary))], "could run code and is not opened"
    yield "CIFAR-N .pt", [*noise, file("human.pt", pickles.torch_zip(canary))], "or a CIFAR-N .npz file"
    for name, content in {
        "reduce": pickles.plain(canary),
        "protocol 4": pickles.plain(canary, 4),
        "opcodes": pickles.opcodes(canary),
        "stack global": pickles.stack_global(canary),
        "torch": pickles.torch_zip(canary),
        "memo": pickles.huge_memo(),
        "key": pickles.endless_key(),
    }.items():
        yield f"CIFAR {name}", [*TRAIN, folder_of_cifar(here, f"cifar {name}", content)], refused
    labels = folder_of_cifar(here, "cifar labels", pickles.endless_labels())
    yield "CIFAR labels", [*TRAIN, labels], "file must hold 'data'"
    for name, text in {
        "apply.yaml": markup.yaml_tag(canary),
        "new.yaml": markup.yaml_new(canary),
        "key.yaml": markup.yaml_key(canary),
        "module.yml": markup.yaml_module(canary),
    }.items():
        yield name, ["train", "--config", file(name, text)], "could not determine a constructor for the tag"
    yield "TOML", ["train", "--config", file("a.toml", markup.toml_text(canary))], "which does not exist"
    for kind in (markup.eps, markup.dos_eps, markup.svg, markup.html):
        data = pictures(here / f"data {kind.__name__}")
        (data / "a" / "x.png").write_bytes(kind(canary))
        yield f"{kind.__name__} as .png", [*TRAIN, data.name], "'a/x.png'"
    for kind in (folders.extension_type, folders.hub_metadata):
        kind(here / f"{kind.__name__}.parquet", canary)
        yield f"Parquet {kind.__name__}", [*TRAIN, f"{kind.__name__}.parquet"], f"{kind.__name__}.parquet"
    model = run_with(here, "run model", "checkpoint/model.safetensors", pickles.torch_zip(canary))
    yield "checkpoint model scored", ["score", model], ""
    state = {"state.safetensors": pickles.plain(canary), "state.json": pickles.plain(canary)}
    for name, content in state.items():
        run = run_with(here, f"run {name}", f"checkpoint/{name}", content)
        yield f"checkpoint {name} resumed", ["train", "--config", "trained.yaml", "--no-report", "--out", run], ""
    about = json.loads((here / "run" / "run.json").read_text())
    evil = about | {"config": about["config"] | {"model": "attack_module:net"}}
    yield "run.json pickle", ["score", run_with(here, "r1", "run.json", pickles.plain(canary))], "run.json must be as"
    yield "run.json model", ["score", run_with(here, "r2", "run.json", json.dumps(evil).encode())], "attack_module"
    yield "history", ["explain", run_with(here, "r3", "ledger/samples.parquet", pickles.plain(canary)), "0"], ""
    yield "joblib", [*TRAIN, file("data.joblib", pickles.plain(canary))], "data must be one of"


@pytest.mark.fault(25, "code in a file of data, weights, settings or a run is never executed; the answer is one line")
def test_code_in_files_is_never_run(here: Path, tmp_path: Path, seen) -> None:
    canary = tmp_path / "canary"
    attacks = list(code_attacks(here, canary))
    assert len(attacks) >= 12
    answers = ask_all([words for _, words, _ in attacks], here)
    for (name, _, message), answer in zip(attacks, answers, strict=True):
        assert not canary.exists(), name
        assert message in answer.err, (name, answer.err)
        if name.startswith("checkpoint") and answer.code == 0:
            # Hashes that fit: a checkpoint that is not ours is passed over, loudly, and the training begins anew.
            assert "going back to the one before it" in answer.err, (name, answer)
        else:
            assert answer.code == 2, (name, answer)
            assert answer.err.count("\n") == 1 or name.startswith("checkpoint"), (name, answer.err)
    seen(f"{len(attacks)} of {len(attacks)} attacks refused in one line, the canary is absent", count=len(attacks))


@pytest.mark.fault(25, "a canary would be seen: what the payloads do, they do where a file is unpickled")
def test_the_canary_sings_where_pickles_are_loaded(tmp_path: Path, seen) -> None:
    import pickle

    loaded = 0
    for make in (pickles.plain, pickles.opcodes, pickles.stack_global):
        canary = tmp_path / make.__name__
        pickle.loads(make(canary))  # noqa: S301 - that is the point
        assert canary.exists()
        loaded += 1
    seen(f"{loaded} of {loaded} payloads make the canary when Python unpickles them", count=loaded)


@pytest.mark.fault(25, "modules that lie in the data or in the working directory are not imported by a training")
@pytest.mark.parametrize("more", [(), pytest.param(("--processes", "2"), marks=pytest.mark.slow)])
def test_modules_in_the_working_directory_are_not_imported(
    here: Path, tmp_path: Path, more: tuple[str, ...], seen
) -> None:
    canary = tmp_path / "canary"
    folders.modules(here, canary)
    folders.modules(here / "plain" / "a", canary)
    words = [
        str(Path(sys.executable).with_name("tamis")),
        *TRAIN,
        "plain",
        "--batch-size",
        "4",
        "--out",
        "again",
        *more,
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=here, check=False, timeout=120)
    assert not canary.exists(), canary.read_text()
    assert done.returncode == 0, done.stderr
    seen(f"trained beside {len(folders.MODULES)} such modules, none was imported", count=len(folders.MODULES))


def test_a_pickle_of_plain_data_is_still_read(tmp_path: Path) -> None:
    import pickle

    import numpy as np

    for protocol in range(6):
        content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 4], "b": (None, True, 2.5, {"x": "ü"})}
        (tmp_path / "x").write_bytes(pickle.dumps(content, protocol=min(protocol, 4)))
        read = load_plain(tmp_path / "x")
        assert read["labels"] == [3, 4]
        assert read["b"] == (None, True, 2.5, {"x": "ü"})
        assert read["data"].shape == (2, 3072)


# ----- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(
    26, "a file name that leads out of its folder is refused by name; nothing outside is read or written"
)
@pytest.mark.parametrize("kind", paths.FORMATS)
def test_names_lead_nowhere_else(tmp_path: Path, kind: str, seen) -> None:
    secret, refused = picture(77), 0
    for name in paths.NAMES:
        if kind in ("zip", "tar") and "\0" in name:
            name = "a/secret.png/.."  # their names end at a NUL
        folder = tmp_path / "outer" / "folder"
        shutil.rmtree(tmp_path / "outer", ignore_errors=True)
        pictures(folder, "b", 2)
        for place in (tmp_path / "outer" / "secret.png", tmp_path / "secret.png"):
            place.write_bytes(secret)
        path = paths.FORMATS[kind](folder, name, picture())
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=r"file name must lead to a file below|entry must be a file") as caught:
            open_images(path)
        shown = "a" if kind == "tar link" else name
        assert repr(shown) in str(caught.value)
        assert tree(tmp_path) == before
        refused += 1
    assert refused == len(paths.NAMES) >= 12
    seen("every name refused, the tree of files is as before", count=refused)


@pytest.mark.fault(26, "a list of samples to leave out, and the pointers of a run folder, lead to no other file")
def test_lists_and_pointers_lead_nowhere_else(here: Path, seen) -> None:
    names = [name for name in paths.NAMES if "\0" not in name and name != ".."]
    words = []
    for place, name in enumerate(names):
        (here / f"exclude{place}.txt").write_text(f"{name}\n")
        words.append([*TRAIN, "plain", "--out", f"out{place}", "--exclude", f"exclude{place}.txt"])
        run = Path(shutil.copytree(here / "run", here / f"run{place}"))
        for pointer in ("LATEST", "BEST"):
            (run / "checkpoints" / pointer).write_text(name)
        shutil.copytree(checkpoint_of(here / "run", "last"), here / "elsewhere", dirs_exist_ok=True)
        words += [["score", run.name], ["score", run.name, "--which", "best"]]
    before = tree(here)
    answers = ask_all(words, here)
    for asked, answer in zip(words, answers, strict=True):
        assert answer.code == 2, (asked, answer)
        assert answer.err.count("\n") == 1, (asked, answer)
        assert "exclude must list keys" in answer.err or "pointer must name a checkpoint" in answer.err, answer.err
    assert tree(here) == before
    seen("every name refused, the tree of files is as before", count=len(words))


# ----- bombs ------------------------------------------------------------------------------------------------------

SUFFIXES = {
    "zip": (bombs.zip_of_zeros, bombs.lying_zip, bombs.bzipped_zip, bombs.nested_zip),
    "tar.gz": (bombs.tar_gz, bombs.tar_of_a_text, bombs.tar_of_names, bombs.tar_of_a_header),
    "tar": (bombs.tar_bz2, bombs.tar_xz, bombs.tar_backwards, bombs.tar_sparse),
    "folder": (bombs.idx_of_terabytes, bombs.idx_of_gigabytes, bombs.cifar_of_an_odd_size),
    "parquet": (bombs.parquet_of_one_image, bombs.parquet_of_labels, bombs.laughing_features),
    "csv": (bombs.csv_of_a_field, bombs.csv_of_a_class),
    "run": (bombs.deep_json,),
    "yaml": (bombs.deep_yaml, bombs.laughing_yaml, bombs.long_yaml),
}
SECONDS, MEGABYTES = 2.0, 500.0


def refuse_bombs(bombs_of: dict, folder: Path) -> list[Answer]:
    words = []
    for suffix, makers in bombs_of.items():
        for make in makers:
            name = f"{make.__name__}.{suffix}"
            make(folder / name)
            first = {"run": ["score"], "yaml": ["train", "--data", "x", "--config"]}.get(suffix, list(TRAIN))
            words.append([*first, name])
    answers = ask_all(words, folder)
    for asked, answer in zip(words, answers, strict=True):
        assert answer.code == 2, (asked, answer)
        assert answer.err.count("\n") == 1, (asked, answer)
        assert asked[-1].split(".")[0] in answer.err or "in 'data_batch_1.bin'" in answer.err or "idx" in answer.err
        assert answer.seconds < SECONDS, (asked, answer)
        assert answer.megabytes < MEGABYTES, (asked, answer)
    return answers


@pytest.mark.fault(27, "a file that unpacks to more than memory is refused in less than 2 s and 500 MB")
def test_bombs_are_refused(tmp_path: Path, seen) -> None:
    answers = refuse_bombs(SUFFIXES, tmp_path)
    seconds, megabytes = max(answer.seconds for answer in answers), max(answer.megabytes for answer in answers)
    seen(
        f"{len(answers)} of {len(answers)} refused, the slowest in {seconds:.1f} s, at most {megabytes:.0f} MB with "
        "torch loaded",
        count=len(answers),
    )


@pytest.mark.slow
@pytest.mark.fault(27, "one value of a gigabyte in Parquet is refused in less than 2 s and 500 MB")
def test_a_field_of_a_gigabyte_is_refused(tmp_path: Path, seen) -> None:
    (answer,) = refuse_bombs({"parquet": (bombs.parquet_of_a_field,)}, tmp_path)
    seen(f"refused in {answer.seconds:.1f} s and {answer.megabytes:.0f} MB")


def test_a_checkpoint_is_read_as_it_was_written(trained: Path) -> None:
    model, _ = load_checkpoint(checkpoint_of(trained / "run", "last"))
    assert model
