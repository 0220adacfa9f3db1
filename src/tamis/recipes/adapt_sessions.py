"""The sessions of a camera: what each looked at, and whether it came to its end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.files import replace_json

_FILE = "camera.json"
STUDENT = "student.safetensors"


@dataclass(frozen=True)
class Session:
    """One stretch of footage.

    Attributes:
        folder: a culled folder, and in it judge/, train/ and the trained student.
        earlier: the sessions before, oldest first.
    """

    folder: Path
    earlier: tuple["Session", ...]

    @property
    def weights(self) -> Path:
        """The student that was trained."""
        return self.folder / STUDENT

    @property
    def result(self) -> dict[str, Any]:
        """result.json; empty where the session is not at its end."""
        path = self.folder / "result.json"
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return found if "drift" in found else {}


def session_of(camera: Path, footage: dict[str, Any]) -> Session:
    """The session of this footage: one that was begun with it, else a new one, which is written down.

    Args:
        camera: the folder of the camera; made if need be.
        footage: what identifies the footage, as JSON.

    Raises:
        ValueError: the file of the sessions is damaged, or the latest session is not at its end.
    """
    camera.mkdir(parents=True, exist_ok=True)
    path = camera / _FILE
    try:
        known = json.loads(path.read_text("utf-8")) if path.is_file() else []
        found = [(str(each["name"]), each["footage"]) for each in known]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_FILE} must be as tamis wrote it, got {error} in {str(path)!r}; take a backup") from error
    footage = json.loads(json.dumps(footage))
    places = [place for place, (_, each) in enumerate(found) if each == footage]
    place = places[0] if places else len(found)
    sessions: list[Session] = []
    for name, _ in [*found[:place], (f"session-{place + 1:03d}", footage)]:
        sessions.append(Session(camera / name, tuple(sessions)))
    unfinished = [each.folder.name for each in sessions[:-1] if not each.result]
    if unfinished:
        raise ValueError(
            f"sources must be those of {unfinished[0]} until that is done, got others; give them again to go on, or "
            f"remove it from {str(path)!r}"
        )
    if not places:
        replace_json(
            path, [{"name": name, "footage": each} for name, each in [*found, (sessions[-1].folder.name, footage)]]
        )
    return sessions[-1]
