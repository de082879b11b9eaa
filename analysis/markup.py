"""Small pieces of HTML: escaping, tables, embedded images, the page and its style."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from analysis.estimate import Estimate

# Above this an image made of many curves is smaller, and faster to show, as pixels.
MAX_SVG_BYTES = 1_000_000

STYLE = """
:root { --ink: #1a1a1a; --soft: #666; --line: #ddd; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
p, figcaption { margin: .25rem 0 .5rem; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .85rem; line-height: 1.35; }
th, td { padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
th .unit { display: block; font-weight: 400; color: var(--soft); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { white-space: nowrap; }
td.words { min-width: 14rem; }
tr.excluded td { color: var(--soft); }
.claim { margin: .6rem 0; break-inside: avoid; } .claim p { margin: 0; }
.verdict { font-weight: 600; white-space: nowrap; }
.holds { color: #00624a; } .fails { color: #a33b00; } .untested { color: var(--soft); }
figure { margin: 1rem 0 1.5rem; }
figure img { display: block; max-width: 100%; height: auto; }
pre { overflow-x: auto; background: #f6f6f6; padding: .6rem; font-size: .8rem; line-height: 1.4; }
@media (max-width: 40rem) { figure img { max-width: none; width: auto; min-width: 30rem; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; } table { font-size: 7pt; } th, td { padding-right: .3rem; }
  td.words { min-width: 0; }
  figure img { max-width: 100%; min-width: 0; } pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
}
"""

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
"""
)


def page(title: str, sections: Sequence[str]) -> str:
    """A whole document that needs nothing from elsewhere."""
    return PAGE.substitute(title=escape(title), style=STYLE, body="\n".join(sections))


def escape(value: object) -> str:
    """Text that HTML shows as it is."""
    return html.escape(str(value))


def section(heading: str, *parts: str) -> str:
    """A heading and what follows it; nothing where there is nothing."""
    shown = [part for part in parts if part]
    return "\n".join([f"<h2>{escape(heading)}</h2>", *shown]) if shown else ""


def paragraph(text: str, *, soft: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def table(
    columns: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    *,
    kinds: Sequence[str],
    row_classes: Sequence[str] = (),
) -> str:
    """A table that scrolls sideways on a narrow screen.

    `columns` maps a heading to its unit (may be empty); `kinds` gives each column's CSS class
    (`number`, `name`, `words`); cells are HTML already, so escape text before.
    """
    heads = [
        f'<th class="{kind}">{escape(name)}{_unit(unit)}</th>'
        for (name, unit), kind in zip(columns.items(), kinds, strict=True)
    ]
    lines = [f"<tr>{''.join(heads)}</tr>"]
    for i, row in enumerate(rows):
        cells = [f'<td class="{k}">{cell}</td>' for cell, k in zip(row, kinds, strict=True)]
        css = f' class="{row_classes[i]}"' if row_classes and row_classes[i] else ""
        lines.append(f"<tr{css}>{''.join(cells)}</tr>")
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _unit(unit: str) -> str:
    return f'<span class="unit">{escape(unit)}</span>' if unit else ""


def number(value: object, digits: int = 3) -> str:
    """A number with `digits` significant digits, thousands with commas; a dash for none."""
    if not isinstance(value, (int, float)) or value != value:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def estimate_cells(found: Estimate | None) -> list[str]:
    """Value and interval as two cells."""
    if found is None:
        return ["-", "-"]
    if found.low is None or found.high is None:
        return [number(found.value), "-"]
    return [number(found.value), f"{number(found.low)} to {number(found.high)}"]


def picture(name: str, caption: str, files: Sequence[Path]) -> str:
    """A figure inside the page: its SVG, or its PNG where the SVG is large."""
    by_ending = {path.suffix: path for path in files}
    path, kind = by_ending[".svg"], "image/svg+xml"
    if path.stat().st_size > MAX_SVG_BYTES:
        path, kind = by_ending[".png"], "image/png"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(f"{name}: {caption}")}" src="data:{kind};base64,{data}">'
    below = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure><div class="scroll">{image}</div>{below}</figure>'
