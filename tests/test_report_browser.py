"""The report's page, opened in a real browser at the width of a screen and of a phone."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import meanfield as mf
from meanfield.reporting.html import page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium"),
]

# The page in a frame of a given width, and what its own layout says of it.
LOOK = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe width="{width}" height="{height}" style="border: 0" srcdoc="{page}"></iframe>
<pre id="seen"></pre><script>
onload = () => {{
  const seen = document.querySelector("iframe").contentDocument, all = seen.documentElement;
  const cells = [...seen.querySelectorAll("h1, h2, dt, dd, li, .cards b")];
  document.getElementById("seen").textContent = JSON.stringify({{
    title: seen.title,
    overflow: all.scrollWidth - all.clientWidth,
    pictures: [...seen.images].map(i => [i.complete, i.naturalWidth, i.clientWidth]),
    hidden: cells.map(c => [c.getBoundingClientRect(), c.outerHTML])
      .filter(([box]) => box.height < 10 || box.width < 10).map(([box, tag]) => tag),
    columns: getComputedStyle(seen.querySelector(".panels")).gridTemplateColumns.split(" ").length,
    text: all.innerText,
  }});
}};</script>"""


@pytest.fixture(scope="module")
def report() -> mf.Report:
    return mf.report(mf.Activation("shifted_relu", tau=0.7), depth=8)


def browse(address: Path, folder: Path, *options: str) -> str:
    """What chromium prints; its profile is its own, so that it meets no other."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               f"--user-data-dir={folder}/profile", *options, address.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("width", "columns"), [(1280, 3), (390, 1)])
def test_it_fits_and_nothing_is_missing(
    report: mf.Report, width: int, columns: int, tmp_path: Path
) -> None:
    file = tmp_path / "frame.html"
    file.write_text(LOOK.format(width=width, height=4000, page=escape(page(report), quote=True)))
    printed = browse(file, tmp_path, "--virtual-time-budget=10000", "--dump-dom")
    found = re.search(r'<pre id="seen">(.*?)</pre>', printed, flags=re.DOTALL)
    assert found, printed[-2000:]
    seen = json.loads(unescape(found[1]))
    assert seen["title"] == "shifted_relu(tau=0.7): meanfield report"
    assert seen["overflow"] == 0 and seen["columns"] == columns and not seen["hidden"]
    assert len(seen["pictures"]) == len(report.plot())
    for complete, natural, shown in seen["pictures"]:
        assert complete and natural > shown > min(width, 1000) / (columns + 1)
    text = " ".join(seen["text"].split())
    for section in report.sections:
        assert section.title in text
        for entry in section.entries:
            assert " ".join(entry.value.split()) in text and " ".join(entry.advice.split()) in text


def test_it_is_seen(report: mf.Report, tmp_path: Path) -> None:
    """Words, curves and cards leave their colours in a picture of the screen."""
    report.save(tmp_path / "page.html")
    browse(tmp_path / "page.html", tmp_path, "--window-size=1280,2400",
           f"--screenshot={tmp_path / 'page.png'}")  # fmt: skip
    pixels = matplotlib.image.imread(tmp_path / "page.png")[..., :3]
    assert pixels.shape[:2] == (2400, 1280)
    white = np.all(pixels == 1, axis=-1)
    assert 0.4 < white.mean() < 0.95
    assert (~white).any(axis=1).mean() > 0.5  # it goes on to the foot of the page
    card = np.all(np.abs(pixels - np.array([0xEE, 0xF4, 0xFA]) / 255) < 2 / 255, axis=-1)
    assert card.sum() > 10_000
