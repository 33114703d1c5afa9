"""The picture of a run, as SVG. The same document makes the same picture, byte by byte.

Imports matplotlib, which only the extra `plots` installs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from bench.reads.documents import Cell, ReadsDocument, Variant
from bench.reads.tables import finding
from contrast.plot import FAINT, STYLE

# Okabe and Ito's, which the colour-blind can distinguish; a marker each, for a print without colours.
COLOURS = {
    Variant.EVENTUAL: "#56b4e9",
    Variant.READ_YOUR_WRITES: "#0072b2",
    Variant.MONOTONIC: "#009e73",
    Variant.STRONG: "#5f5f5f",
    Variant.CACHE: "#d55e00",
}
MARKERS = {
    Variant.EVENTUAL: "o",
    Variant.READ_YOUR_WRITES: "s",
    Variant.MONOTONIC: "D",
    Variant.STRONG: "v",
    Variant.CACHE: "^",
}
INCHES = (10.0, 7.2)
WIDTH = 0.16


def write_plot(document: ReadsDocument, file: Path) -> Path:
    with mpl.rc_context(STYLE):
        _figure(document).savefig(file, metadata={"Date": None, "Creator": None})
    return file


def _figure(document: ReadsDocument) -> Figure:
    figure = Figure(figsize=INCHES, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.06, hspace=0.1))
    figure.suptitle(fill(finding(document), 88), x=0.012, ha="left", fontsize=13, fontweight="bold")
    (latency, replicas), (stale, lies) = figure.subplots(2, 2)
    _latency(latency, document)
    _bars(replicas, document, "Answered by replicas", "share of the reads", lambda cell: cell.by_replicas)
    _bars(stale, document, "Stale answers", "share that lacked an acknowledged write", lambda cell: cell.stale)
    _bars(
        lies,
        document,
        "The caller's own write is missing",
        "share of the reads, on either device of the user",
        lambda cell: cell.own_missing / cell.reads,
    )
    handles, names = latency.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(Variant), frameon=False)
    return figure


def _latency(axes: Axes, document: ReadsDocument) -> None:
    """p50 as a point, with a line up to p99."""
    for variant, places in _places(document):
        cells = [document.cell(delay, variant) for delay in document.delays]
        # What comes out of a cache takes no time that a logarithm could show.
        p50 = [max(cell.p50_ms, 0.1) for cell in cells]
        axes.vlines(places, p50, [cell.p99_ms for cell in cells], COLOURS[variant], lw=2)
        axes.plot(places, p50, MARKERS[variant], color=COLOURS[variant], ms=6, label=variant.value)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.margins(y=0.08)
    _titled(axes, "A read takes", "ms: p50, with a line to p99")
    _delay_axis(axes, document.delays)


def _bars(axes: Axes, document: ReadsDocument, title: str, unit: str, value_of: Callable[[Cell], float]) -> None:
    for variant, places in _places(document):
        values = [value_of(document.cell(delay, variant)) for delay in document.delays]
        bars = axes.bar(places, values, WIDTH * 0.9, color=COLOURS[variant])
        axes.bar_label(bars, [_percent(value) for value in values], padding=2, fontsize=7)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(y=0.12)
    _titled(axes, title, unit)
    _delay_axis(axes, document.delays)


def _percent(share: float) -> str:
    """Of each bar, without the sign, which is at the axis."""
    return "0" if share == 0 else f"{share * 100:.0f}" if share >= 0.095 else f"{share * 100:.1f}"


def _places(document: ReadsDocument) -> list[tuple[Variant, list[float]]]:
    middle = (len(Variant) - 1) / 2
    return [
        (variant, [n + (number - middle) * WIDTH for n in range(len(document.delays))])
        for number, variant in enumerate(Variant)
    ]


def _titled(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, pad=20)
    axes.annotate(unit, (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9)


def _delay_axis(axes: Axes, delays: Sequence[int]) -> None:
    axes.set_xticks(range(len(delays)), [f"{delay} ms" for delay in delays])
    axes.set_xlabel("replicas replay each commit this much later")
    axes.grid(axis="y", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
