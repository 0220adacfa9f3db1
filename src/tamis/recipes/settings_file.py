"""The settings in a YAML or TOML file, each with the line it stands in. Nothing in the file is run.

Values stay texts wherever the format leaves that open (`data: 0123` is the folder 0123, not the number 83): the
command line gives them their types, as it does with flags.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LIMIT = 1 << 15  # bytes; a file of settings has a few dozen lines
_MOST_BRACKETS = 200  # PyYAML takes seconds to give up on many
_PLAIN = ("str", "int", "float", "timestamp")


@dataclass(frozen=True)
class SettingsFile:
    """What a file of settings says.

    Attributes:
        path: the file.
        values: by the name as it is written: a text, a number, a truth value, or a list of these. A setting that is
            null is left at its default, and not here.
        lines: the line of each, from 1; names with `_` for `-`.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def where(self, name: str) -> str:
        """File and line of a setting, such as `a.yaml:3`."""
        return f"{self.path}:{self.lines[plain_name(name)]}"

    def _add(self, name: str, value: Any, line: int) -> None:
        if first := self.lines.get(plain_name(name)):
            raise ValueError(
                f"setting must be given once, got {name!r} in {self.path}:{line} and in line {first}; remove one"
            )
        if plain_name(name).startswith("no_"):
            raise ValueError(
                f"setting must be named without no-, got {name!r} in {self.path}:{line}; write {name[3:]}: false"
            )
        if not isinstance(value, str | bool | int | float | None) and not _is_list(value):
            raise ValueError(
                f"setting must be a value or a list of values, got {type(value).__name__} for {name!r} "
                f"in {self.path}:{line}; correct it"
            )
        self.lines[plain_name(name)] = line
        if value is not None:
            self.values[name] = value


def plain_name(name: str) -> str:
    """`--batch-size` and `batch-size` are `batch_size`."""
    return name.lstrip("-").replace("-", "_")


def read_settings(path: Path) -> SettingsFile:
    """Read the settings in a YAML or TOML file.

    Raises:
        ValueError: it is neither, damaged, too large, or empty; a setting comes twice, or is no plain value or list of
            plain values. The message names the file and, where there is one, the line.
        FileNotFoundError: it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"config must be a file that is there, got {str(path)!r}; correct the path")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise ValueError(f"config must end in .toml, .yaml or .yml, got {str(path)!r}; rename it")
    if path.stat().st_size > LIMIT:
        raise ValueError(
            f"config must be at most {LIMIT} bytes, got {path.stat().st_size} in {str(path)!r}; shorten it"
        )
    kind = path.suffix[1:].upper()
    settings = SettingsFile(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if sum(map(text.count, "[{")) > _MOST_BRACKETS:
            raise RecursionError
        _take_toml(settings, text) if kind == "TOML" else _take_yaml(settings, text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config must be {kind}, got {error} in {str(path)!r}; correct it") from error
    except RecursionError as error:
        raise ValueError(f"config must be lines of setting: value, got many brackets in {str(path)!r}") from error
    return settings


def _take_toml(settings: SettingsFile, text: str) -> None:
    found = tomllib.loads(text)
    if not found:
        raise _not_lines(settings, "nothing")
    lines = text.splitlines()
    for name, value in found.items():
        # tomllib tells no lines: the first one that begins with the name.
        begins = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[].=]""")
        line = next((number for number, each in enumerate(lines, 1) if begins.match(each)), 1)
        settings._add(name, value, line)


def _take_yaml(settings: SettingsFile, text: str) -> None:
    loader = yaml.SafeLoader(text)
    loader.name = str(settings.path)  # what messages call it
    node = loader.get_single_node()
    if not isinstance(node, yaml.MappingNode):
        kind = "nothing" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "one value"
        raise _not_lines(settings, kind)
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(_scalar(loader, key))
        if isinstance(value, yaml.SequenceNode) and not value.tag.startswith("tag:yaml.org,2002:python"):
            settings._add(name, [_scalar(loader, each) for each in value.value], line)
        else:
            settings._add(name, _scalar(loader, value), line)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """A plain value; whatever else the safe loader builds or refuses."""
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        return None
    if kind in _PLAIN and isinstance(node, yaml.ScalarNode):
        special = kind == "float" and node.value.lower().lstrip("+-") in (".nan", ".inf")
        return node.value.replace(".", "") if special else node.value
    return loader.construct_object(node, deep=True)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str | bool | int | float) for each in value)


def _not_lines(settings: SettingsFile, got: str) -> ValueError:
    return ValueError(f"config must be lines of setting: value, got {got} in {str(settings.path)!r}; add the settings")
