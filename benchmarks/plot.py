"""Results as pictures: one SVG for each metric of a scenario, a panel for each case in it."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its keyword arguments open.

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl  # needs the extra `bench`
from matplotlib.figure import Figure

from benchmarks.results import OURS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

    from benchmarks.results import Results, Series

__all__ = ["plot"]

# For nhttp and for the others; pinned is paler.
COLOURS = {
    True: {"free": "#1f6f8b", "pinned": "#8fc1d4"},
    False: {"free": "#888", "pinned": "#ccc"},
}
STYLE: dict[RcKeyType, object] = {
    "svg.hashsalt": "nhttp",  # the same picture is the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BAR = 0.16  # inches
HEAD = 0.75  # inches, of a panel's title and axis


def plot(directory: Path, found: list[Results]) -> list[Path]:
    """Draw everything.

    Args:
        directory: Where to; it is made.
        found: What to draw.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for results in found:
        for metric in dict.fromkeys(series.metric for series in results.series):
            drawn = [series for series in results.series if series.metric == metric]
            name = f"{results.scenario}-{metric.name}".replace(", ", "-").replace(" ", "-")
            path = directory / f"{name}.svg"
            with mpl.rc_context(STYLE):
                draw(drawn).savefig(path, format="svg", metadata={"Date": None})
            written.append(path)
    return written


def draw(drawn: list[Series]) -> Figure:
    """Give a picture with a panel for each case."""
    cases = list(dict.fromkeys(series.case for series in drawn))
    panels = [[series for series in drawn if series.case == case] for case in cases]
    heights = [BAR * len(panel) + HEAD for panel in panels]
    figure = Figure(figsize=(7, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    for row, panel in enumerate(panels):
        draw_case(figure.add_subplot(grid[row, 0]), panel)
    return figure


def draw_case(axes: Axes, panel: list[Series]) -> None:
    """Draw a bar for each peer and placement, with its spread."""
    peers = list(dict.fromkeys(series.peer for series in panel))
    placements = list(dict.fromkeys(series.placement for series in panel))
    height = 0.8 / len(placements)
    for series in panel:
        below, above = series.median - series.spread[0], series.spread[1] - series.median
        axes.barh(
            peers.index(series.peer) + placements.index(series.placement) * height,
            series.median,
            height,
            color=COLOURS[series.peer == OURS][series.placement],
            xerr=[[below], [above]],
            error_kw={"elinewidth": 0.6, "ecolor": "#444"},
        )
    axes.set_yticks([index + (0.8 - height) / 2 for index in range(len(peers))], peers)
    axes.invert_yaxis()
    metric = panel[0].metric
    better = "more is better" if metric.higher_is_better else "less is better"
    pale = "; paler: pinned" if "pinned" in placements else ""
    axes.set_title(f"{panel[0].case} ({metric.unit}; {better}{pale})", loc="left", fontsize=9)
