"""The figure of a contrast: small multiples, as SVG and PNG. The same document makes the same SVG, byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from cli.contrast.documents import PROTOCOLS, ContrastDocument, Cost, Place
from cli.contrast.facts import finding
from domain.errors import InvalidInput
from domain.transfers import Protocol

# Okabe and Ito's, which the colour-blind tell apart too; a marker each for a print without colours.
COLOURS = {Protocol.LOCAL: "#5f5f5f", Protocol.SAGA: "#0072b2", Protocol.TWO_PHASE: "#d55e00"}
MARKERS = {Protocol.LOCAL: "o", Protocol.SAGA: "s", Protocol.TWO_PHASE: "^"}
NAMES = {Protocol.LOCAL: "local", Protocol.SAGA: "saga", Protocol.TWO_PHASE: "2PC"}
INK = "#222222"
FAINT = "#d9d9d9"
# The size of a column of text on a page, and twice its sharpness.
INCHES = (10.0, 6.4)
DOTS_PER_INCH = 160

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "shardwise",
    # Letters as outlines: the same picture wherever it is shown, whatever fonts are there.
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
    # It has to be read on a dark page too.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
}


def write_plot(document: ContrastDocument, path: Path) -> list[Path]:
    """`path` with the suffixes .svg and .png; what was written. `InvalidInput` where that is not possible."""
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
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.04, hspace=0.06)
    figure = Figure(figsize=INCHES, layout=layout)
    figure.suptitle(fill(finding(document), 88), x=0.012, ha="left", fontsize=13, fontweight="bold")
    (spread, hot, latency), (locked, events, trips) = figure.subplots(2, 3)
    _throughput(spread, document, Place.SPREAD, "Spread over many accounts")
    _throughput(hot, document, Place.HOT, "All out of one hot account")
    _latency(latency, document)
    top = max(spread.get_ylim()[1], hot.get_ylim()[1])
    spread.set_ylim(0, top)
    hot.set_ylim(0, top)
    _bars(locked, document, "An account's row is locked", "ms, longest", lambda cost: cost.locked_ms, "{:.1f}")
    _bars(events, document, "Temporal history", "events a transfer", lambda cost: cost.history_events, "{:.0f}")
    _bars(
        trips,
        document,
        "Between worker and Postgres",
        "round trips a transfer",
        lambda cost: cost.round_trips,
        "{:.0f}",
    )
    return figure


def _throughput(axes: Axes, document: ContrastDocument, place: Place, title: str) -> None:
    concurrencies = document.concurrencies
    for protocol in PROTOCOLS:
        rates = [document.cell(protocol, place, concurrency).per_second for concurrency in concurrencies]
        _line(axes, protocol, range(len(concurrencies)), rates)
    axes.set_title(title)
    axes.set_ylabel("transfers settled per second")
    axes.set_ylim(bottom=0)
    _concurrency_axis(axes, concurrencies)


def _latency(axes: Axes, document: ContrastDocument) -> None:
    """p50 as a point, with a line up to p99."""
    concurrencies = document.concurrencies
    for offset, protocol in zip((-0.18, 0.0, 0.18), PROTOCOLS, strict=True):
        cells = [document.cell(protocol, Place.HOT, concurrency) for concurrency in concurrencies]
        places = [number + offset for number in range(len(concurrencies))]
        axes.vlines(places, [each.p50_ms for each in cells], [each.p99_ms for each in cells], COLOURS[protocol], lw=2)
        p50 = [each.p50_ms for each in cells]
        axes.plot(places, p50, MARKERS[protocol], color=COLOURS[protocol], ms=6, label=NAMES[protocol])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title("Latency, hot account: p50 to p99")
    axes.set_ylabel("ms")
    axes.legend(frameon=False, loc="upper left", handletextpad=0.2, borderpad=0)
    _concurrency_axis(axes, concurrencies)


def _line(axes: Axes, protocol: Protocol, places: Sequence[int], values: Sequence[float]) -> None:
    colour = COLOURS[protocol]
    axes.plot(places, values, marker=MARKERS[protocol], color=colour, lw=2, ms=6, clip_on=False)
    axes.annotate(
        NAMES[protocol],
        (places[-1], values[-1]),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontweight="bold",
        annotation_clip=False,
    )


def _concurrency_axis(axes: Axes, concurrencies: Sequence[int]) -> None:
    axes.set_xticks(range(len(concurrencies)), [str(each) for each in concurrencies])
    axes.set_xlabel("transfers at once")
    axes.margins(x=0.08)
    axes.grid(axis="y", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)


def _bars(
    axes: Axes,
    document: ContrastDocument,
    title: str,
    unit: str,
    value_of: Callable[[Cost], float],
    form: str,
) -> None:
    """Lying, so that names and values are read in one line; the value stands at its bar, and no axis is needed."""
    values = [value_of(document.cost(protocol)) for protocol in PROTOCOLS]
    bars = axes.barh(
        [NAMES[protocol] for protocol in PROTOCOLS], values, color=[COLOURS[each] for each in PROTOCOLS], height=0.62
    )
    axes.bar_label(bars, [form.format(value) for value in values], padding=4, fontweight="bold")
    axes.invert_yaxis()
    axes.set_title(f"{title} ({unit})")
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.margins(x=0.15)
