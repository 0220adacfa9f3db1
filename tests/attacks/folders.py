"""Folders of data that bring Python files along, and tables whose metadata is a pickle."""

import base64
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from attacks.pickles import Touch

# What the packages that tamis stands on try to import and mostly do not find, and what they do find.
MODULES = ("pynvml", "opt_einsum", "tensorflow", "olefile", "torchcomms", "dill", "sitecustomize", "usercustomize")
MODULES += (
    "tamis",
    "torch",
    "numpy",
    "yaml",
    "PIL",
    "json",
    "pandas",
    "tensorboard",
    "colorama",
    "zstandard",
    "multiprocessing",
)


def modules(folder: Path, canary: Path) -> None:
    """Python files with the names of packages; to import one makes the canary."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'a').write({name!r})\n")
    (folder / "conftest.py").write_text(f"open({str(canary)!r}, 'a').close()\n")
    (folder / "evil.pth").write_text(f"import os; os.system('touch {canary}')\n")


def extension_type(path: Path, canary: Path) -> None:
    """Parquet whose schema names an extension type with a pickle in it (CVE-2023-47248)."""
    about = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Touch(canary)),
    }
    fields = [pa.field("image", pa.binary(), metadata=about), pa.field("label", pa.int64())]
    pq.write_table(pa.table([[b"x"], [0]], schema=pa.schema(fields)), path)


def hub_metadata(path: Path, canary: Path) -> None:
    """Parquet with the Hugging Face metadata of a column that a script would build."""
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": [f"$(touch {canary})"]}}
    import json

    text = json.dumps({"info": {"features": features, "builder_name": f"__import__('os').system('touch {canary}')"}})
    about = {b"huggingface": text.encode(), b"pandas": base64.b64encode(pickle.dumps(Touch(canary)))}
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}).replace_schema_metadata(about), path)
