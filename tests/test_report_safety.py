"""Hostile names of files, classes, runs and settings are shown as text and do nothing."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from run_folders import Fake, write_run
from tamis.report import write_report

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'><svg onload=document.title='owned'>",
    "{{7*7}}",
    "{% include '/etc/passwd' %}",
    "<!--<script>",
    "]]><iframe src=http://tamis.invalid/frame></iframe>",
    "javascript:document.title='owned'",
    "</title><base href=http://tamis.invalid/>",
    "</style><style>*{background:url(http://tamis.invalid/css)}</style>",
    "<link rel=stylesheet href=http://tamis.invalid/link>",
    '=HYPERLINK("http://tamis.invalid","x")',
    "&lt;b&gt;\u2028\u2029\\u003cb>",
    "$\\frac{1}{0}$ ${document.title='owned'} `x`",
    "\u202egnp.exe\x00\x07\t</textarea><form action=http://tamis.invalid/>",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    keys = HOSTILE + [f"plain/{number}.png" for number in range(45)]
    run = write_run(folder / "run", Fake(n=60, classes=15, epochs=3, class_names=HOSTILE, keys=keys, hidden=0.3))
    about = json.loads((run / "run.json").read_text())
    about["command"], about["method"], about["data"]["root"] = HOSTILE[:3]
    about["data"]["noise"]["kind"] = HOSTILE[1]
    about["environment"] |= {"device": HOSTILE[2], "commit": HOSTILE[0], "python": "\udcff"}
    about["config"] |= {name: name for name in HOSTILE}
    (run / "run.json").write_text(json.dumps(about))
    bad = [{"key": name, "split": name, "reason": name} for name in HOSTILE]
    (run / "quarantine.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in bad))
    kinds = {kind: {"count": 15, "first": HOSTILE} for kind in ("added", "removed", "edited")}
    change = {"change": 1, "time": HOSTILE[0], "train": kinds, "validation": kinds}
    (run / "changed.jsonl").write_text(f"{json.dumps(change)}\n")
    return write_report(run, names=[HOSTILE[0]])


class Elements(HTMLParser):
    """The elements of a page as (tag, attributes), and the texts of its table cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "td":
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def assert_harmless(elements: Elements) -> None:
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 2
    assert tags.count("style") == 1 + tags.count("figure")  # ours, and one line in each figure
    assert not {"iframe", "base", "form", "img", "textarea", "object", "embed"} & set(tags)
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)


def test_the_markup_holds_only_our_elements(page):
    text = page.read_text(encoding="utf-8")
    assert_harmless(Elements(text))
    assert "{{7*7}}" in text
    assert text.count("</script>") == 2


def test_the_policy_allows_our_script_and_nothing_else(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.read_text(encoding="utf-8"))
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy[1])


def browse(path: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """The page's DOM after its script has run, and what the browser logged."""
    assert CHROMIUM
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=2000", *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode(), done.stderr.decode(errors="replace")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_runs_no_payload_and_shows_the_names(page, tmp_path):
    log = tmp_path / "net.json"
    dom, console = browse(page, tmp_path, f"--log-net-log={log}")
    elements = Elements(dom)
    assert_harmless(elements)
    title = re.search(r"<title>(.*?)</title>", dom, re.S)
    assert title
    assert title[1] != "owned"
    for name in HOSTILE:
        assert name.replace("\x00", "\ufffd") in elements.cells or name in elements.cells, name
    assert "Content Security Policy" not in console
    assert "tamis.invalid" not in log.read_text(errors="replace")


PROBE = """
const out = {};
const cells = (n) => [...document.querySelectorAll("#table tbody tr")].map((tr) => tr.cells[n].textContent);
out.wide = document.documentElement.scrollWidth - window.innerWidth;
out.first = cells(5).map(Number);
document.querySelector('th[data-name="index"] button').click();
out.index = cells(1).map(Number);
document.getElementById("search").value = "PLAIN/44";
document.getElementById("search").dispatchEvent(new Event("input"));
out.found = cells(0);
out.csv = [csvCell("=1+1"), csvCell("-0.5"), csvCell('a"b')];
const pre = Object.assign(document.createElement("pre"), { id: "out", textContent: JSON.stringify(out) });
document.body.replaceChildren(pre);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_a_browser_sorts_and_searches_the_table(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    dom, _ = browse(probed, tmp_path, "--window-size=400,800")
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    out = json.loads(found[1].replace("&gt;", ">").replace("&amp;", "&"))
    assert out["wide"] <= 0
    assert out["first"] == sorted(out["first"], reverse=True)
    assert out["index"] == sorted(out["index"])
    assert out["found"] == ["plain/44.png"]
    assert out["csv"] == ['"\'=1+1"', '"-0.5"', '"a""b"']
