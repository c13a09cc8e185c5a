"""Tables and plots of what was measured."""

import os
import platform
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from . import peers
from .measure import Cost

OURS = "#c44e52"
OTHERS = "#8d99ae"


@dataclass(frozen=True)
class Suite:
    """What was measured in one run, and the row that the others are compared with."""

    title: str
    base: str
    costs: dict[str, Cost]

    def ratios(self) -> list[tuple[str, float, float, Cost]]:
        """Returns the rows, the cheapest first: name, ratio of CPU, ratio of wall time, costs."""
        base = self.costs[self.base]
        rows = [
            (name, cost.cpu / base.cpu, cost.wall / base.wall if base.wall else 0.0, cost)
            for name, cost in self.costs.items()
        ]
        return sorted(rows, key=lambda row: row[1])


@dataclass(frozen=True)
class Table:
    """What was measured otherwise: numbers in columns, by the name of the peer."""

    title: str
    columns: list[str]
    rows: dict[str, list[str]]


def text(suite: Suite | Table) -> str:
    """Returns a suite as a table in Markdown."""
    if isinstance(suite, Table):
        lines = [f"## {suite.title}", "", f"| | {' | '.join(suite.columns)} |"]
        lines.append("|---|" + "---:|" * len(suite.columns))
        lines += [f"| {emphasised(name)} | {' | '.join(row)} |" for name, row in suite.rows.items()]
        return "\n".join([*lines, ""])
    lines = [f"## {suite.title}", "", "| | CPU | wall | CPU, µs | wall, µs |", "|---|---:|---:|---:|---:|"]
    for name, cpu, wall, cost in suite.ratios():
        shown = emphasised(name)
        times = (
            f"{wall:.2f} | {cost.cpu * 1e6:.0f} | {cost.wall * 1e6:.0f}"
            if wall
            else f"| {cost.cpu * 1e6:.0f} |"
        )
        lines.append(f"| {shown} | {cpu:.2f} | {times} |")
    return "\n".join([*lines, ""])


def is_ours(name: str) -> bool:
    """Returns whether a row is of this project as it is now."""
    return name.startswith("cruds") and name != peers.CRUDS1.name


def emphasised(name: str) -> str:
    """Returns the name of a row, in bold where it is of this project."""
    return f"**{name}**" if is_ours(name) else name


def write(folder: Path, suites: list[Suite | Table], day: date, rounds: int, load: str) -> None:
    """Writes the tables and the plot of the CPU ratios."""
    folder.mkdir(exist_ok=True)
    measured = {peer.package: peer for peer in [*peers.CLIENTS, *peers.TOKENS]}
    versions = ", ".join(f"{package} {peers.version(peer)}" for package, peer in sorted(measured.items()))
    head = [
        "# Benchmarks",
        "",
        f"Measured on {day:%d %B %Y} by `make bench`, Python {platform.python_version()},",
        f"{os.cpu_count()} processors, load averages {load}.",
        "nginx serves on the same machine, each library runs in a process of its own, all in turns.",
        f"Medians of {rounds} blocks, as ratios to `urllib3.PoolManager` with `json.loads`. Less is better.",
        "Below a tenth is noise, on a busy machine more. 32 threads at once are tried three times, and files",
        "are moved once, by one library after the other: of these the seconds say little.",
        "",
        f"{versions}.",
        "",
        "![CPU of a call](cpu.svg)",
        "",
    ]
    (folder / "README.md").write_text("\n".join([*head, *map(text, suites)]), encoding="utf-8")
    plot(folder, [suite for suite in suites if isinstance(suite, Suite)], day)


def plot(folder: Path, suites: list[Suite], day: date) -> None:
    """Draws the CPU ratios of each suite as bars."""
    matplotlib: Any = import_module("matplotlib")  # of the group "bench"
    matplotlib.use("Agg")
    plt: Any = import_module("matplotlib.pyplot")
    plt.rcParams["svg.fonttype"] = "none"  # text as text: the file is a tenth
    plt.rcParams["svg.hashsalt"] = "cruds"

    heights = [len(suite.costs) for suite in suites]
    figure, axes = plt.subplots(
        len(suites),
        1,
        figsize=(8, sum(heights) * 0.28 + len(suites)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for (axis,), suite in zip(axes, suites, strict=True):
        draw(axis, suite)
    figure.suptitle(f"CPU of a call, ratio to urllib3 and json ({day:%d %B %Y})", fontsize=10)
    for kind in ("png", "svg"):
        figure.savefig(folder / f"cpu.{kind}", metadata={"Date": None} if kind == "svg" else None)


def draw(axis: Any, suite: Suite) -> None:
    """Draws one suite."""
    rows = suite.ratios()[::-1]
    names = [name for name, *_ in rows]
    colours = [OURS if is_ours(name) else OTHERS for name in names]
    bars = axis.barh(names, [cpu for _, cpu, *_ in rows], color=colours)
    axis.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axis.axvline(1, color="black", linewidth=0.6)
    axis.set_title(suite.title, fontsize=8, loc="left")
    axis.tick_params(labelsize=7)
