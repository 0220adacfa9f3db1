"""Names that lead out of a folder, put into every list and archive that names files."""

import csv
import io
import tarfile
import zipfile
from pathlib import Path

NAMES = (
    "../../secret.png",
    "a/../../secret.png",
    "/etc/secret.png",
    "//server/share/secret.png",
    "\\\\server\\share\\secret.png",
    "C:\\secret.png",
    "C:secret.png",
    "a\\..\\..\\secret.png",
    "..",
    "a/../../../etc/passwd.png",
    "a/\0secret.png",
    "./../secret.png",
)


def into_csv(folder: Path, name: str, picture: bytes) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], [name, "a"], ["b/1.png", "b"]])
    return path


def into_zip(folder: Path, name: str, picture: bytes) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/1.png", picture)
        about = zipfile.ZipInfo("x")
        about.filename = name  # as it is: the constructor would cut it
        archive.writestr(about, picture)
    return path


def into_tar(folder: Path, name: str, picture: bytes) -> Path:
    path = folder / "data.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for each in ("b/1.png", name):
            about = tarfile.TarInfo(each)
            about.size = len(picture)
            archive.addfile(about, io.BytesIO(picture))
    return path


def into_link(folder: Path, name: str, picture: bytes) -> Path:
    """A tar in which the name is where a link leads, and the picture lies behind the link."""
    path = folder / "link.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, name
        archive.addfile(link)
        about = tarfile.TarInfo("a/1.png")
        about.size = len(picture)
        archive.addfile(about, io.BytesIO(picture))
    return path


def into_webvision(folder: Path, name: str, picture: bytes) -> Path:
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "train_filelist_google.txt").write_text(f"b/1.png 0\n{name} 1\n", encoding="utf-8")
    return folder


FORMATS = {"csv": into_csv, "zip": into_zip, "tar": into_tar, "tar link": into_link, "webvision": into_webvision}
