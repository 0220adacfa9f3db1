"""What the pages share: the environment of their templates, and the script and style that stand in them."""

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: str, filters: dict[str, Callable[..., str]], *, script: str = "", **content: Any) -> str:
    """A page of a template of this package: everything but our own script and style is escaped.

    Args:
        template: its file.
        filters: what the template calls to write figures.
        script: file of the script that the page may run; without one it may run none.
        content: what the template is given.
    """
    environment = Environment(
        loader=PackageLoader("tamis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    code = _own(script) if script else ""
    return environment.get_template(template).render(
        script=Markup(code),  # noqa: S704 - our own file
        style=Markup(_own("style.css")),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        **content,
    )


def _own(name: str) -> str:
    return files("tamis.report").joinpath(name).read_text(encoding="utf-8")
