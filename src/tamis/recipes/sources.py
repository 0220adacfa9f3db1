"""Where the settings of a command come from: its default, a line of a file, or a flag."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, get_args

from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import Dict

from tamis.recipes.settings_file import SettingsFile

_FRACTION = re.compile(r"[+-]?[\d_]*\.\d*(e[+-]?\d+)?", re.IGNORECASE)


@dataclass
class Sources:
    """A hook of cyclopts that comes after the flags and the file: it notes who gave what, and changes nothing.

    Attributes:
        file: the settings file, or None.
        given: where each given setting comes from, by name: "flag" or `a.yaml:3`.
        beaten: the settings that the file gives too, but a flag wins over: what to tell the user.
    """

    file: SettingsFile | None = None
    given: dict[str, str] = field(default_factory=dict)
    beaten: list[str] = field(default_factory=list)

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Look at the words of a command before they get their types.

        Raises:
            ValueError: a whole number is given with a fraction; cyclopts would round it.
        """
        self.given.clear()
        self.beaten.clear()
        for argument in arguments:
            if not argument.tokens:
                continue
            name, first = argument.name.lstrip("-").replace("-", "_"), argument.tokens[0]
            self.given[name] = "flag" if first.source == "cli" else first.source
            if argument.hint is int or int in get_args(argument.hint):
                for token in argument.tokens:
                    _check_whole(name, token.value, self.given[name])
            if self.file is not None and name in self.file.lines and first.source == "cli":
                word = first.keyword if first.implicit_value in (True, False) else f"{argument.name} {first.value}"
                self.beaten.append(f"{word} wins over {name} in {self.file.where(name)}")

    def lines(self, commands: Sequence[str]) -> Iterator[Dict]:
        """The settings of the file one by one, for all of these commands, so that a message names the line."""
        if self.file is None:
            return
        for name, value in self.file.values.items():
            # Flat, cyclopts would drop the setting `report` as the name of a command.
            yield Dict({command: {name: value} for command in commands}, source=self.file.where(name))

    def explain(self, error: Exception, words: Sequence[str] = ()) -> str:
        """The text of an error, and what led to it: the line of a file, or a name among the words that looks a flag."""
        text = str(error)
        names = [word for word in words if word.startswith("-") and Path(word).exists()]
        if names and isinstance(error, CycloptsError):
            return f"{text} To name {names[0]!r} write './{names[0]}'."
        name = text.split(" ", 1)[0]
        source = self.given.get(name, "flag")
        return text if source == "flag" or source in text else f"{text} ({name} is set in {source})"

    def table(self, arguments: dict[str, Any]) -> str:
        """Every setting, its value and its source: lines that are a YAML file of settings themselves.

        Args:
            arguments: of a command, by name: its settings, or as `config` a dataclass of them.
        """
        config = arguments.get("config")
        values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else arguments
        words = {name: f"{name}: {json.dumps(_plain(value), ensure_ascii=False)}" for name, value in values.items()}
        width = max(map(len, words.values()))
        return "\n".join(f"{word:<{width}}  # {self.given.get(name, 'default')}" for name, word in words.items())


def _check_whole(name: str, value: str, source: str) -> None:
    if _FRACTION.fullmatch(value):
        where = "" if source == "flag" else f" in {source}"
        raise ValueError(f"{name} must be a whole number, got {value!r}{where}; leave the fraction out")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
