"""Coverage-guided fuzzing of a reader with atheris, where it is installed.

`python tests/fuzz/atheris_readers.py zip -max_total_time=300`: the name of a reader (`--list` shows them), then
words of libFuzzer. What is tried are the bytes of the reader's first file; the other files stay valid.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    try:
        import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ImportError:
        print("atheris is not installed: nothing was tried; soak.py needs no such package")
        return
    rooms = ["tamis.data", "tamis.recipes", "tarfile", "zipfile", "tomllib", "yaml"]
    with atheris.instrument_imports(include=rooms):  # pyright: ignore[reportAttributeAccessIssue]
        from fuzz.readers import READERS, attempt, valid
    if sys.argv[1:2] == ["--list"]:
        print("\n".join(READERS))
        return
    kind = sys.argv[1] if sys.argv[1:2] and not sys.argv[1].startswith("-") else "zip"
    name, seed = next(iter(valid(kind).items()))
    folder = Path(tempfile.mkdtemp())
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(seed)

    def one(content: bytes) -> None:
        attempt(kind, valid(kind) | {name: content}, folder / "input")

    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
