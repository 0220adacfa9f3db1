"""The data of a run that goes on, put back to what the run knows of it.

Another order has no effect: positions stay those of the run. Samples that were added, removed or edited are refused,
unless the change is accepted. Then

- added samples get new positions behind all others and start unscored;
- removed ones keep their position, scores and history, but have no image and are never shown again;
- edited ones keep their position, and are unscored again, sigma and its momentum as at the start: what was learned is
  about another image, label or point. A removed sample that comes back is treated likewise.
- boxes have a sigma of their own: those that stay as they were keep it whatever else is edited in the annotations of
  their image; a box that is new or another, and all boxes of another image, start anew.

What the run is judged by: a sample that was held out stays held out, whatever comes or goes; all others train, new
ones too. A new sample with the content of one that was held out is that one under another name, and is held out.
Mean and std stay those of the run. Labels that were made wrong on purpose are taken from the run; they are drawn for
all samples together, so with them no change is accepted.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from tamis.data import BoxedImages, CountedImages, Images, MemoryImages
from tamis.data.fingerprint import SCHEMA, How, Told, fingerprint
from tamis.files import replace_file
from tamis.fit.growth import Changes
from tamis.history import read_samples, write_samples
from tamis.recipes.box_rows import moves, write_moved
from tamis.recipes.changes import Change, between, first_few, places, true_labels

SAMPLES, VALIDATION = "samples.parquet", "validation.parquet"


@dataclass(frozen=True, eq=False)
class Known:
    """The data of a run that goes on, at the positions of the run.

    Attributes:
        train: the n training samples, with the labels that are trained on.
        validation: the samples that the run is judged by.
        clean: int64 (n,), the true labels where they were made wrong on purpose, else None.
        gone: bool (n,), removed from the data: not to be shown.
        changes: those that were accepted so far.
        said: the change that is accepted now, of the training samples and of those to judge by; empty if there is none.
        pending: writes that change down, if there is one.
    """

    train: Images
    validation: Images
    clean: Tensor | None
    gone: Tensor
    changes: Changes
    said: tuple[str, ...]
    pending: Callable[[], None] | None = None

    def write(self) -> None:
        """Write the accepted change into the tables of the run and into its `changed.jsonl`, if there is one.

        To be called by the one process that owns the run, before it saves anything that it has learned of this data.
        """
        if self.pending is not None:
            self.pending()


def remember(
    run: Path, train: Images, validation: Images, clean: Tensor | None, how: How = "auto", told: Told | None = None
) -> None:
    """Write down what a run begins with: `ledger/samples.parquet` and `ledger/validation.parquet`.

    Args:
        run: its folder.
        train: the training samples, with the labels that are trained on.
        validation: the samples that it is judged by.
        clean: int64 (n,), the true labels where they were made wrong on purpose.
        how: see `fingerprint`.
        told: see `fingerprint`.
    """
    about = {"form": _form(train), "classes": list(train.class_names), "mean": train.mean, "std": train.std}
    for name, source, true in ((VALIDATION, validation, None), (SAMPLES, train, clean)):
        prints = fingerprint(source, how, told=told)
        write_samples(run / "ledger", source.keys, source.labels, true, prints, name=name, about=about | {"changes": 0})


def reconcile(
    run: Path,
    train: Images,
    validation: Images | None,
    *,
    accept: bool = False,
    how: How = "auto",
    told: Told | None = None,
) -> Known:
    """Bring data that was opened anew to what a run knows of it, as the module says.

    Nothing is written yet (`Known.write`). Checkpoints of before an accepted change are brought up to it when they are
    loaded (`tamis.fit.growth.grown`).

    Args:
        run: its folder.
        train: the training split, or the whole if a part of it is held out.
        validation: the samples to judge by; None = those that the run held out.
        accept: accept that samples were added, removed or edited.
        how: see `fingerprint`.
        told: see `fingerprint`.

    Raises:
        ValueError: samples differ and that is not accepted, or cannot be; the classes or the kind of images differ; or
            no sample is left to train on or to judge by.
        FileNotFoundError: the run has not written down what it began with.
    """
    (old, about), (judged, _) = read_samples(run / "ledger"), read_samples(run / "ledger", VALIDATION)
    _hold_to_kind(run, train, about)
    prints = _prints(train, old if validation is not None else pa.concat_tables([old, judged]), how, told)
    if validation is None:
        train, prints, validation, judged_prints = _parted(run, train, prints, old, judged)
    else:
        judged_prints = _prints(validation, judged, how, told)
    change, of_judged = between(old, train, prints), between(judged, validation, judged_prints)
    left = of_judged.rows[of_judged.rows >= 0]
    if not len(left) or (change.rows < 0).all():
        raise ValueError(f"data must have samples that {str(run)!r} knows, got none; put them back")
    laid_out = change.laid_out(train)
    said = tuple(f"{name} {each}" for name, each in (("training", change), ("validation", of_judged)) if each)
    noisy, pending = old["clean_label"].null_count < len(old), None
    if said:
        _hold_to_rule(run, said, noisy=noisy, accept=accept)
        about = about | {"changes": about["changes"] + 1}
        pending = partial(_write, run, about, (old, change), (judged, of_judged), laid_out)
    labels = old["label"] if noisy else change.table["label"]
    scale = about["mean"], about["std"]
    return Known(
        train=laid_out.with_labels(torch.tensor(labels.to_numpy()).long()).with_scale(*scale),
        validation=validation.select(left).with_scale(*scale),
        clean=torch.from_numpy(true_labels(old)) if noisy else None,
        gone=change.rows < 0,
        changes=Changes(
            about["changes"],
            torch.from_numpy(_since(old, change, about["changes"])),
            moves(run / "ledger") if isinstance(train, BoxedImages) else None,
        ),
        said=said,
        pending=pending,
    )


def _form(source: Images) -> str:
    if isinstance(source, CountedImages | BoxedImages):
        return "points" if isinstance(source, CountedImages) else "boxes"
    return "x".join(map(str, source.images.shape[1:])) if isinstance(source, MemoryImages) else "files"


def _hold_to_kind(run: Path, train: Images, about: dict[str, Any]) -> None:
    for name, now, before in (
        ("classes", list(train.class_names), about["classes"]),
        ("images", _form(train), about["form"]),
    ):
        if now != before:
            raise ValueError(
                f"{name} must be those that {str(run)!r} was trained on, {_short(before)}, got {_short(now)}; "
                "put them back, or train in another --out"
            )


def _short(value: list[str] | str) -> str:
    return value if isinstance(value, str) else ", ".join(first_few(value))


def _prints(source: Images, known: pa.Table, how: How, told: Told | None) -> pa.Table:
    place = places(source.keys, known)
    return fingerprint(source, how, known=known.select(SCHEMA.names).take(pa.array(place, mask=place < 0)), told=told)


def _parted(
    run: Path, whole: Images, prints: pa.Table, old: pa.Table, judged: pa.Table
) -> tuple[Images, pa.Table, Images, pa.Table]:
    """Part the whole as the run did: who was held out stays so, also under another name; all others train."""
    options = pc.SetLookupOptions(value_set=judged["digest"].combine_chunks().drop_null())
    renamed = pc.call_function("is_in", [prints["digest"]], options).to_numpy().astype(bool)
    out = (places(whole.keys, judged) >= 0) | (renamed & (places(whole.keys, old) < 0))
    if out.all() or not out.any():
        raise ValueError(
            f"data must have samples to train on and samples that {str(run)!r} held out, got {len(out)} samples, "
            f"{int(out.sum())} held out; put them back"
        )
    inside, outside = (~out).nonzero()[0], out.nonzero()[0]
    train, validation = (whole.select(torch.from_numpy(index)) for index in (inside, outside))
    return train, prints.take(inside), validation, prints.take(outside)


def _hold_to_rule(run: Path, said: Sequence[str], *, noisy: bool, accept: bool) -> None:
    start = f"data must be what {str(run)!r} was trained on, got {'; '.join(said)}"
    if noisy:
        raise ValueError(
            f"{start}, and wrong labels are drawn for all samples together; put it back, or train in another --out"
        )
    if not accept:
        raise ValueError(f"{start}; put it back, go on with --accept-dataset-change, or train in another --out")


def _since(table: pa.Table, change: Change, number: int) -> np.ndarray:
    since = np.zeros(len(change.rows), np.int32)
    since[: len(table)] = table["since"].to_numpy()
    since[change.fresh.numpy()] = number
    return since


def _write(
    run: Path,
    about: dict[str, Any],
    train: tuple[pa.Table, Change],
    validation: tuple[pa.Table, Change],
    laid_out: Images,
) -> None:
    """Write an accepted change; the samples come last: what a crash leaves before them is found and written again."""
    number, now = about["changes"], read_samples(run / "ledger")[1]["changes"]
    if now != number - 1:
        raise ValueError(f"run must be as when its data was opened, got change {now} in {str(run)!r}; start again")
    line = {
        "change": number,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "train": train[1].plain(),
        "validation": validation[1].plain(),
    }
    path = run / "changed.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    kept = [text for text in lines if json.loads(text)["change"] < number]
    replace_file(path, "".join(f"{text}\n" for text in [*kept, json.dumps(line)]))
    if isinstance(laid_out, BoxedImages):
        write_moved(run / "ledger", laid_out, train[1].repainted.numpy(), number)
    for name, (table, change) in ((VALIDATION, validation), (SAMPLES, train)):
        extra = change.table.select(SCHEMA.names).append_column("gone", pa.array(change.rows.numpy() < 0))
        extra = extra.append_column("since", pa.array(_since(table, change, number)))
        keys, labels = change.table["key"].to_pylist(), torch.tensor(change.table["label"].to_numpy())
        write_samples(run / "ledger", keys, labels, None, extra, name=name, about=about)
