"""The report as a reader sees it: in a browser, at the widths of a laptop and of a phone, light and
dark. Skipped where there is no Chromium.

KCAP_SCREENSHOTS=DIR keeps the pictures there.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.report import write_report

RESULTS = Path(__file__).parents[2] / "docs" / "results"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
HEIGHTS = {1280: 900, 390: 844}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium here (Debian: apt install chromium)"),
]


def written(name: str, into: Path) -> Path:
    """The report of a committed run, written anew."""
    shutil.copytree(RESULTS / name, into / name)
    return write_report(into / name)


@pytest.fixture(scope="module", name="report")
def report_fixture(tmp_path_factory) -> Path:
    """Of a run with many tables."""
    return written("laptop_zipf", tmp_path_factory.mktemp("screens"))


def browse(page: Path, width: int, *options: str, is_dark: bool = False) -> str:
    """Open the page in a fresh browser of this width; what it prints."""
    profile = page.parent / f"profile-{width}-{is_dark}-{len(options)}"
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--user-data-dir={profile}",
        f"--window-size={width},{HEIGHTS[width]}",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    return done.stdout


FRAME = """<!doctype html><title></title>
<iframe src="{name}" style="width:{width}px;height:800px;border:0"></iframe>
<script>addEventListener("message", (event) => (document.title = event.data))</script>
"""


def asked(report: Path, script: str, width: int) -> str:
    """What a script finds in the page, which it leaves in its title.

    In a frame of this width: windows are never narrower than 500 pixels.
    """
    copy = report.with_name(f"asked-{width}.html")
    source = report.read_text(encoding="utf-8")
    script = f"{script}; parent.postMessage(document.title, '*')"
    copy.write_text(f"{source}<script>{script}</script>", encoding="utf-8")
    frame = report.with_name(f"frame-{width}.html")
    frame.write_text(FRAME.format(name=copy.name, width=width), encoding="utf-8")
    shown = browse(frame, 1280, "--dump-dom", "--virtual-time-budget=5000")
    match = re.search(r"<title>(.*?)</title>", shown)
    assert match is not None
    return match[1]


@pytest.mark.parametrize("width", HEIGHTS)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_the_page_is_seen_in_every_form(report, width, is_dark):
    """The first screen has the colours asked for, figures too, and is not empty."""
    name = f"report-{width}-{'dark' if is_dark else 'light'}.png"
    path = report.with_name(name)
    browse(report, width, f"--screenshot={path}", is_dark=is_dark)
    pixels = np.asarray(Image.open(path).convert("L"), dtype=float)
    assert pixels.shape == (HEIGHTS[width], width)
    paper = 0x16 if is_dark else 0xFF
    # Most of a page is paper; of ink there is some, and it is far from the paper.
    assert np.mean(np.abs(pixels - paper) < 3) > 0.7
    assert np.mean(np.abs(pixels - paper) > 150) > 0.01
    # A figure that does not follow a dark page would be a white block.
    assert np.mean(pixels > 250) < 0.02 or not is_dark
    if folder := os.environ.get("KCAP_SCREENSHOTS"):
        shutil.copyfile(path, Path(folder) / name)


@pytest.mark.parametrize("width", HEIGHTS)
def test_nothing_sticks_out_sideways(report, width):
    """Also with all columns unfolded, only a table's own frame scrolls."""
    script = (
        "document.querySelectorAll('.fold input').forEach((one) => one.click());"
        "document.title = [innerWidth, document.documentElement.scrollWidth].join()"
    )
    assert asked(report, script, width) == f"{width},{width}"


COUNT_SCROLLING = (
    "document.title = [...document.querySelectorAll('.table .scroll')]"
    ".filter((one) => one.scrollWidth > one.clientWidth).length"
)


def test_few_columns_fit_without_scrolling(report):
    """At 1280 pixels no table scrolls sideways until its other columns are unfolded."""
    assert asked(report, COUNT_SCROLLING, 1280) == "0"


def test_the_one_row_of_the_quickstart_fits(tmp_path):
    """The interval of c and the status are seen without scrolling, on a laptop and on a phone."""
    report = written("quickstart", tmp_path)
    assert [asked(report, COUNT_SCROLLING, width) for width in HEIGHTS] == ["0", "0"]
    if folder := os.environ.get("KCAP_SCREENSHOTS"):
        for width in HEIGHTS:
            name = f"quickstart-{width}.png"
            browse(report, width, f"--screenshot={Path(folder) / name}")


def test_a_table_sorts_by_the_column_that_is_pressed(report):
    """Numbers as numbers, up and then down; rows without a value last both times."""
    script = (
        "const table = [...document.querySelectorAll('table')].find((one) => "
        "one.tHead.textContent.includes('R_max'));"
        "const head = [...table.tHead.rows[0].cells].find((one) => "
        "one.querySelector('button').textContent === 'R');"
        "const seen = () => [...table.tBodies].map((one) => "
        "one.rows[0].cells[head.cellIndex].dataset.order);"
        "delete table.tBodies[1].rows[0].cells[head.cellIndex].dataset.order;"
        "head.querySelector('button').click(); const up = seen();"
        "head.querySelector('button').click();"
        "document.title = JSON.stringify([up, seen()])"
    )
    title = asked(report, script, 1280)
    up, down = (
        [float(text) for text in part.split('"')[1::2]]
        for part in title.replace("&quot;", '"').split("],[")
    )
    assert len(up) == 5
    assert up == sorted(up) and down == up[::-1]
    assert title.count("null") == 2
    assert all("null" in part.rstrip("]").split(",")[-1] for part in title.split("],["))
