"""The picture of a contrast, as SVG and PNG. The same document makes the same SVG, byte by byte.

Imports matplotlib, which only the extra `plots` installs: see `cli.contrast`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from contrast.documents import PROTOCOLS, ContrastDocument, Cost, Place
from contrast.facts import finding
from domain.errors import InvalidInput
from domain.transfers import Protocol

# Okabe and Ito's, which the colour-blind can distinguish; a marker each, for a print without colours.
COLOURS = {Protocol.LOCAL: "#5f5f5f", Protocol.SAGA: "#0072b2", Protocol.TWO_PHASE: "#d55e00"}
MARKERS = {Protocol.LOCAL: "o", Protocol.SAGA: "s", Protocol.TWO_PHASE: "^"}
NAMES = {Protocol.LOCAL: "local", Protocol.SAGA: "saga", Protocol.TWO_PHASE: "2PC"}
INK = "#222222"
FAINT = "#d9d9d9"
# As wide as a column of text on a page, at twice its resolution.
INCHES = (10.0, 6.4)
DOTS_PER_INCH = 160

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "shardwise",
    # Letters as outlines: the picture is the same whatever fonts are installed.
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    # It must be legible on a dark page too.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
}


def write_plot(document: ContrastDocument, path: Path) -> list[Path]:
    """Writes `path` with the suffixes .svg and .png, and returns both. `InvalidInput` if a file cannot be written."""
    with mpl.rc_context(STYLE):
        figure = _figure(document)
        written = []
        for suffix in (".svg", ".png"):
            file = path.with_name(path.name + suffix)
            metadata = {"Date": None, "Creator": None} if suffix == ".svg" else {"Software": None}
            try:
                figure.savefig(file, dpi=DOTS_PER_INCH, metadata=metadata)
            except OSError as error:
                raise InvalidInput("plot", f"cannot write {file}: {error.strerror}") from error
            written.append(file)
    return written


def _figure(document: ContrastDocument) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.05, hspace=0.08)
    figure = Figure(figsize=INCHES, layout=layout)
    figure.suptitle(fill(finding(document), 84), x=0.012, ha="left", fontsize=13, fontweight="bold")
    (spread, hot, latency), (locked, events, trips) = figure.subplots(2, 3)
    top = 1.08 * max(each.per_second for each in document.cells)
    _throughput(spread, document, Place.SPREAD, "Spread over many accounts", top)
    _throughput(hot, document, Place.HOT, "Out of one hot account", top)
    _latency(latency, document)
    _bars(
        locked, document, "An account is locked", "ms, the longest of a transfer", lambda cost: cost.locked_ms, "{:.1f}"
    )
    _bars(events, document, "Temporal history", "events of a transfer", lambda cost: cost.history_events, "{:.0f}")
    _bars(trips, document, "SQL round trips", "of a transfer", lambda cost: cost.round_trips, "{:.0f}")
    return figure


def _throughput(axes: Axes, document: ContrastDocument, place: Place, title: str, top: float) -> None:
    concurrencies = document.concurrencies
    last: dict[Protocol, float] = {}
    for protocol in PROTOCOLS:
        rates = [document.cell(protocol, place, concurrency).per_second for concurrency in concurrencies]
        axes.plot(range(len(rates)), rates, marker=MARKERS[protocol], color=COLOURS[protocol], lw=2, ms=6)
        last[protocol] = rates[-1]
    axes.set_ylim(0, top)
    for protocol, height in apart(last, least=top * 0.075).items():
        _name(axes, protocol, (len(concurrencies) - 1, height))
    _titled(axes, title, "transfers settled per second")
    _concurrency_axis(axes, concurrencies)


def _latency(axes: Axes, document: ContrastDocument) -> None:
    """p50 as a point, with a line up to p99."""
    concurrencies = document.concurrencies
    for offset, protocol in zip((-0.18, 0.0, 0.18), PROTOCOLS, strict=True):
        cells = [document.cell(protocol, Place.HOT, concurrency) for concurrency in concurrencies]
        places = [number + offset for number in range(len(concurrencies))]
        p50 = [each.p50_ms for each in cells]
        axes.vlines(places, p50, [each.p99_ms for each in cells], COLOURS[protocol], lw=2)
        axes.plot(places, p50, MARKERS[protocol], color=COLOURS[protocol], ms=6)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    _titled(axes, "Out of one hot account", "latency in ms: p50, with a line to p99")
    _concurrency_axis(axes, concurrencies)


def apart(heights: Mapping[Protocol, float], least: float) -> dict[Protocol, float]:
    """The same heights in the same order, moved up until they are `least` apart, so that names do not overlap."""
    placed: dict[Protocol, float] = {}
    floor = float("-inf")
    for protocol, height in sorted(heights.items(), key=lambda each: each[1]):
        placed[protocol] = max(height, floor)
        floor = placed[protocol] + least
    return placed


def _name(axes: Axes, protocol: Protocol, place: tuple[float, float]) -> None:
    axes.annotate(
        NAMES[protocol],
        place,
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        color=COLOURS[protocol],
        fontweight="bold",
        annotation_clip=False,
    )


def _titled(axes: Axes, title: str, unit: str) -> None:
    """The unit is written under the title instead of along the axis."""
    axes.set_title(title, pad=20)
    axes.annotate(unit, (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9)


def _concurrency_axis(axes: Axes, concurrencies: Sequence[int]) -> None:
    axes.set_xticks(range(len(concurrencies)), [str(each) for each in concurrencies])
    axes.set_xlabel("transfers at once")
    axes.set_xlim(-0.3, len(concurrencies) - 0.4)
    axes.grid(axis="y", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)


def _bars(
    axes: Axes, document: ContrastDocument, title: str, unit: str, value_of: Callable[[Cost], float], form: str
) -> None:
    """Horizontal, so that name and value are in one line. The value is written at its bar: no axis is needed."""
    values = [value_of(document.cost(protocol)) for protocol in PROTOCOLS]
    names = [NAMES[protocol] for protocol in PROTOCOLS]
    bars = axes.barh(names, values, color=[COLOURS[protocol] for protocol in PROTOCOLS], height=0.62)
    axes.bar_label(bars, [form.format(value) for value in values], padding=4, fontweight="bold")
    axes.invert_yaxis()
    _titled(axes, title, unit)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.margins(x=0.16)
