"""How the data of a run differs from what the run has seen of it, and where its samples belong.

A sample is known by its key; its label and its fingerprint tell whether it is still the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from tamis.data import Images, MemoryImages, UnreadableImage
from tamis.data.decode import Read
from tamis.data.fingerprint import SCHEMA, same

_NAMED = 3  # keys that a message names of each kind


@dataclass(frozen=True, eq=False)
class Change:
    """How a source differs from the n samples of a table, and where its samples belong.

    Attributes:
        added: keys of new samples, and of removed ones that came back.
        removed: keys that are no longer there.
        edited: keys whose content or label is another.
        reordered: whether the samples that both have come in another order.
        undecided: how many count as edited by their date alone, since no digest is stored.
        rows: int64 (m,), m >= n, the place in the source for each position; -1 = removed.
        fresh: bool (m,), what is known of the sample does not hold: it was added or edited.
        repainted: bool (m,), of these, all but those whose label or annotation alone was edited.
        table: key, label, digest, size, mtime_ns, annotation of the m samples, as they are now.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...]
    reordered: bool
    undecided: int
    rows: Tensor
    fresh: Tensor
    repainted: Tensor
    table: pa.Table

    def __bool__(self) -> bool:
        """Whether anything but the order differs."""
        return bool(self.added or self.removed or self.edited)

    def __str__(self) -> str:
        """Such as "+12 -3 ~1 (+ 'a/1.png', 'a/2.png', 'a/3.png', ... - 'b/7.png', ... ~ 'c/5.png')"."""
        kinds = {"+": self.added, "-": self.removed, "~": self.edited}
        counts = " ".join(f"{sign}{len(keys)}" for sign, keys in kinds.items())
        names = [f"{sign} {', '.join(first_few(keys))}" for sign, keys in kinds.items() if keys]
        text = f"{counts} ({' '.join(names)})" if names else counts
        return text + (f", {self.undecided} by the date alone" if self.undecided else "")

    def plain(self) -> dict[str, Any]:
        """Counts and first keys, as JSON."""
        kinds = {"added": self.added, "removed": self.removed, "edited": self.edited}
        return {kind: {"count": len(keys), "first": list(keys[:_NAMED])} for kind, keys in kinds.items()}

    def laid_out(self, source: Images) -> Images:
        """The source in the order of the positions; it behaves bit for bit as the one that the run began with.

        A removed sample has a black image if images are held in memory, else none: reading it is an error.
        """
        if torch.equal(self.rows, torch.arange(len(source))):
            return source
        if (self.rows >= 0).all():
            return source.select(self.rows)
        columns = {"labels": torch.tensor(self.table["label"].to_numpy()), "keys": self.table["key"].to_pylist()}
        if isinstance(source, MemoryImages):
            images = source.images[self.rows.clamp(min=0)]
            images[self.rows < 0] = 0
            return replace(source, images=images, **columns)
        rows = torch.where(self.rows < 0, -1, source.rows[self.rows.clamp(min=0)])
        return replace(source, read=_Remaining(source.read), rows=rows, **columns)


def first_few(keys: Sequence[str]) -> list[str]:
    """The first keys, quoted, and "..." if there are more."""
    return [repr(key) for key in keys[:_NAMED]] + ["..."] * (len(keys) > _NAMED)


@dataclass(frozen=True)
class _Remaining:
    """Reads samples of which some were removed."""

    read: Read

    def __call__(self, position: int) -> Path | bytes:
        """The file of a sample; -1 stands for a removed one."""
        if position < 0:
            raise UnreadableImage("image must still be in the data, got a removed one; leave it out")
        return self.read(position)


def between(old: pa.Table, source: Images, prints: pa.Table) -> Change:
    """Hold a source against the table of the samples of a run.

    Args:
        old: as `tamis.history.read_samples` gives it.
        source: the data as it is now, with its own labels.
        prints: its fingerprints.
    """
    keys = pa.array(list(source.keys), pa.string())
    place = places(source.keys, old)
    there, gone = place >= 0, old["gone"].to_numpy()
    back = there & gone[place]
    labels = true_labels(old)
    matched = there.nonzero()[0]
    equal, by_date = same(old.take(place[matched]), prints.take(matched))
    equal &= labels[place[matched]] == source.labels.numpy()[matched]
    edited = np.zeros(len(keys), bool)
    edited[matched] = ~equal & ~back[matched]
    rows = np.concatenate([np.full(len(old), -1), (~there).nonzero()[0]])
    rows[place[matched]] = matched
    now = pa.table({"key": keys, "label": pa.array(source.labels.numpy())} | _columns(prints))
    before = pa.table({"key": old["key"], "label": labels} | _columns(old.select(SCHEMA.names)))
    fresh = np.ones(len(rows), bool)
    fresh[: len(old)] = False
    fresh[place[edited | back]] = True
    repainted = fresh.copy()
    repainted[place[matched]] &= ~same(old.take(place[matched]), prints.take(matched), annotations=False)[0]
    removed = (rows[: len(old)] < 0) & ~gone
    return Change(
        added=tuple(keys.filter(pa.array(~there | back)).to_pylist()),
        removed=tuple(old["key"].filter(pa.array(removed)).to_pylist()),
        edited=tuple(keys.filter(pa.array(edited)).to_pylist()),
        reordered=bool((np.diff(place[matched]) < 0).any()),
        undecided=int((by_date & edited[matched]).sum()),
        rows=torch.from_numpy(rows),
        fresh=torch.from_numpy(fresh),
        repainted=torch.from_numpy(repainted),
        table=pa.concat_tables([now, before]).take(np.where(rows < 0, len(now) + np.arange(len(rows)), rows)),
    )


def true_labels(table: pa.Table) -> np.ndarray:
    """The labels that the data itself gives, int64 (n,), whatever noise was laid over them."""
    clean, trained = table["clean_label"].fill_null(-1).to_numpy(), table["label"].to_numpy()
    return np.where(clean < 0, trained, clean).astype(np.int64)


def places(keys: Sequence[str], table: pa.Table) -> np.ndarray:
    """Position of each key in the table, int64 (n,), -1 where it has none."""
    wanted = pa.array(list(keys), pa.string())
    options = pc.SetLookupOptions(value_set=table["key"].combine_chunks())
    return pc.call_function("index_in", [wanted], options).fill_null(-1).to_numpy().astype(np.int64)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))
