"""Texts that some reader would run: YAML tags, PostScript, scripts in pictures."""

import struct
from pathlib import Path


def yaml_tag(canary: Path) -> str:
    return f"data: !!python/object/apply:os.system [\"touch '{canary}'\"]\n"


def yaml_new(canary: Path) -> str:
    return f"epochs: !!python/object/new:subprocess.check_output [[touch, '{canary}']]\n"


def yaml_key(canary: Path) -> str:
    return f"? !!python/object/apply:os.system [\"touch '{canary}'\"]\n: 1\n"


def yaml_module(canary: Path) -> str:
    return "data: !!python/module:antigravity\n"


def toml_text(canary: Path) -> str:
    return f"data = \"$(touch '{canary}')\"\nmodel = \"__import__('os').system('touch {canary}')\"\n"


def eps(canary: Path) -> bytes:
    """A program: PIL would hand it to Ghostscript."""
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        b"(" + str(canary).encode() + b") (w) file closefile\nshowpage\n%%EOF\n"
    )


def svg(canary: Path) -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>'


def html(canary: Path) -> bytes:
    return f"<html><script>require('fs').writeFileSync('{canary}', '')</script></html>".encode()


def dos_eps(canary: Path) -> bytes:
    """The form with a binary head, which hides the first line."""
    program = eps(canary)
    return b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, len(program), 0, 0, 0, 0, 0xFFFF) + program
