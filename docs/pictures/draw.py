"""Draws the pictures: `make pictures`. Graphviz lays out what a .dot file says; the colours are added here.

A picture has those of the reader's light or dark, and a background of its own: it can be read on any page.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent

WIDER = 1.25  # pixels for a unit of the layout, where there is room

STYLE = """
text { font-family: system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328; }
.graph > polygon { fill: #ffffff; stroke: none; }
.node path { fill: #f3f4f6; stroke: #7d8590; }
.cluster polygon { fill: none; stroke: #9aa1ab; stroke-dasharray: 4 3; }
.edge path { stroke: #59636e; } .edge polygon { fill: #59636e; stroke: #59636e; }
.call path { fill: #e7efff; stroke: #2757dd; }
.again path { fill: #fff4d6; stroke: #9a6700; }
.good path { fill: #def7e4; stroke: #1a7f37; }
.bad path { fill: #ffe5e3; stroke: #cf222e; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e8eb; }
  .graph > polygon { fill: #131416; }
  .node path { fill: #22262b; stroke: #8b949e; }
  .cluster polygon { stroke: #6e7681; }
  .edge path { stroke: #9aa4af; } .edge polygon { fill: #9aa4af; stroke: #9aa4af; }
  .call path { fill: #152a55; stroke: #6ea0ff; }
  .again path { fill: #3b2e08; stroke: #d4a72c; }
  .good path { fill: #0f3a1c; stroke: #3fb950; }
  .bad path { fill: #4a1614; stroke: #ff7b72; }
}
"""


def mark(source: Path) -> str:
    """Returns what a picture says of what it was drawn from: it is out of date where that has changed."""
    drawn_from = source.read_bytes() + STYLE.encode()
    return f"<!-- {source.name}, {hashlib.sha256(drawn_from).hexdigest()[:16]}; make pictures -->"


def draw(source: Path) -> str:
    """Returns the picture of a .dot file as SVG."""
    laid_out = subprocess.run(["dot", "-Tsvg", source], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
    title = re.search(r"<title>(.*?)</title>", laid_out)
    box = re.search(r'viewBox="0.00 0.00 ([\d.]+) ([\d.]+)"', laid_out)
    if title is None or box is None:
        msg = "what dot writes is not as it was"
        raise ValueError(msg)
    width, height = float(box[1]), float(box[2])
    drawing = laid_out[laid_out.index("<g id=") :]
    # Each node of Graphviz has a title, which a browser shows where the pointer rests.
    drawing = re.sub(r"<title>.*?</title>\n", "", drawing)
    drawing = re.sub(r"<!--.*?-->\n", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' font-family="[^"]*"', "", drawing)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width * WIDER:.0f}" height="{height * WIDER:.0f}" role="img">\n'
        f"{mark(source)}\n<title>{title[1]}</title>\n<style>{STYLE}</style>\n{drawing}"
    )


if __name__ == "__main__":
    for source in sorted(HERE.glob("*.dot")):
        source.with_suffix(".svg").write_text(draw(source), encoding="utf-8")
