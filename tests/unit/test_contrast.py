"""What a contrast makes of its figures: percentiles, the table, the Markdown file and the picture."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cli import main
from contrast import style_facts
from contrast.documents import (
    PROTOCOLS,
    Balances,
    Border,
    Cell,
    ContrastDocument,
    Cost,
    Machine,
    Middle,
    Place,
    Server,
    Side,
    StyleCell,
    StyleCost,
    Writer,
)
from contrast.facts import COLUMNS, finding, markdown, rows
from contrast.files import markers, write_between_markers
from contrast.plot import apart, write_plot
from contrast.probes.sent_statements import Held, Sent, commits, locks_held, round_trips
from domain.errors import InvalidInput
from domain.orders import Style
from domain.percentiles import percentile
from domain.sagas import Reason
from domain.transfers import Protocol
from tests.support.nowhere import lead_nowhere

# The command as it is without the extra `plots`.
WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
from cli.main import run
sys.exit(run(sys.argv[1:]))
"""

BEGIN, END = markers()
RATES = {Protocol.LOCAL: 50.0, Protocol.SAGA: 40.0, Protocol.TWO_PHASE: 10.0}


def cell(protocol: Protocol, place: Place, concurrency: int) -> Cell:
    declined = {Reason.NO_VOTE: 3} if (protocol, place) == (Protocol.TWO_PHASE, Place.HOT) else {}
    return Cell(
        protocol=protocol,
        place=place,
        concurrency=concurrency,
        transfers=20,
        settled=20 - sum(declined.values()),
        declined=declined,
        seconds=1.0,
        per_second=RATES[protocol],
        p50_ms=20.0,
        p95_ms=30.0,
        p99_ms=40.0,
    )


def cost(protocol: Protocol) -> Cost:
    return Cost(
        protocol=protocol,
        transfers=5,
        latency_ms=20.0,
        history_events=35,
        round_trips=31.0,
        commits=5.0,
        locked_ms=60.0 if protocol is Protocol.TWO_PHASE else 3.0,
        locked_total_ms=90.0,
    )


def balances(missing: str) -> Balances:
    return Balances(source="70.00", target="0.00", missing=missing, read_ms=1.0)


def middle(border: Border) -> Middle:
    locked = {
        Border.SAGA_IN_CLEARING: (),
        Border.VOTES_IN: (Side.SOURCE, Side.TARGET),
        Border.HALF_COMMITTED: (Side.TARGET,),
    }[border]
    return Middle(
        protocol=border.protocol,
        border=border,
        amount="30.00",
        currency="USD",
        paused_ms=1200.0,
        before=balances("0.00"),
        middle=balances("0.00" if border is Border.VOTES_IN else "30.00"),
        after=balances("0.00"),
        writers=[
            Writer(
                side=side,
                row_free=side not in locked,
                row_waited_ms=1000.0 if side in locked else 0.5,
                lock_timeout_ms=1000,
                settled_in_pause=side not in locked,
                transfer_ms=1250.0 if side in locked else 20.0,
            )
            for side in Side
        ],
        servers=[
            Server(
                side=side,
                shard=f"shard-{side}",
                unrelated_transfers=5,
                watermark_moved=side not in locked,
                hidden_events=20 if side in locked else 0,
                dead_rows_kept=10 if side in locked else 0,
                horizon_age=None,
            )
            for side in Side
        ],
        settled=True,
    )


@pytest.fixture
def document() -> ContrastDocument:
    return ContrastDocument(
        ok=True,
        run_id="abcd",
        accounts=12,
        shards=["shard-1", "shard-2"],
        machine=Machine(
            cpus=2, system="Linux", python="3.11", postgres="18.4", load_average_before=0.1, load_average_after=2
        ),
        seconds=60.0,
        cells=[cell(protocol, place, at_once) for place in Place for at_once in (1, 8) for protocol in PROTOCOLS],
        costs=[cost(protocol) for protocol in PROTOCOLS],
        middles=[middle(border) for border in Border],
        style_cells=[style_cell(style, at_once) for at_once in (1, 8) for style in Style],
        style_costs=[style_cost(style) for style in Style],
    )


def style_cell(style: Style, at_once: int) -> StyleCell:
    rate = 40.0 if style is Style.ORCHESTRATED else 10.0
    return StyleCell(
        style=style, concurrency=at_once, orders=20, seconds=1, per_second=rate, p50_ms=20, p95_ms=30, p99_ms=40
    )


def style_cost(style: Style) -> StyleCost:
    led = style is Style.ORCHESTRATED
    return StyleCost(
        style=style,
        orders=5,
        latency_ms=20 if led else 90,
        workflows=1 if led else 6,
        history_events=14 if led else 41,
        outbox_events=9 if led else 11,
    )


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([*range(1, 101)], 95, 95),
        ([*range(1, 101)], 99, 99),
        ([1, 2], 50, 1),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_the_table_shows_every_fact_of_every_protocol(document: ContrastDocument) -> None:
    found = {row[0]: row[1:] for row in rows(document)}
    local, saga, two_phase = found["hot source, 8 at once: transfers/s; p50 / p95 / p99"]
    assert (local, saga) == ("50.0; 20 / 30 / 40 ms", "40.0; 20 / 30 / 40 ms")
    assert two_phase == "10.0; 20 / 30 / 40 ms; 3 of 20 declined: no_vote"
    _, saga, two_phase = found["in the middle, a reader of both accounts sees"]
    assert "30.00 missing" in saga
    assert "nothing missing" in two_phase
    _, saga, two_phase = found["in the middle, another writer of the account"]
    assert saga.startswith("source and target free")
    assert two_phase.startswith("source and target locked: lock_timeout after 1000 ms")
    assert (
        "stands still on source and target: 20 + 20 committed events"
        in found["in the middle, the outbox of its servers"][2]
    )
    half = found["between 2PC's two commits"][2]
    assert "30.00 missing; source free" in half
    assert "target locked" in half
    assert "stands still on target: 20 committed" in half
    assert all(all(each) for label, *each in rows(document) if "middle" not in label and "between" not in label)


def test_the_finding_is_made_of_the_measured_ratios(document: ContrastDocument) -> None:
    assert "20 times as long" in finding(document)
    assert "with 8 transfers at once reaches 25% of its throughput, 25% on a hot account" in finding(document)


def test_the_styles_have_a_table_and_a_finding_of_their_own(document: ContrastDocument) -> None:
    found = {row[0]: row[1:] for row in style_facts.rows(document)}
    assert found["8 at once: orders/s; p50 / p95 / p99"] == ("40.0; 20 / 30 / 40 ms", "10.0; 20 / 30 / 40 ms")
    assert (found["history events"], found["outbox events"]) == (("14", "41"), ("9", "11"))
    assert style_facts.finding(document) == (
        "Without a coordinator an order takes 6 workflows and 41 history events for 14, 4.5 times as long, and with 8 "
        "at once reaches 25% of the throughput"
    )
    lines = style_facts.markdown(document).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.count(" | ") for line in table} == {2}


def test_the_markdown_is_one_table(document: ContrastDocument) -> None:
    lines = markdown(document).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(rows(document))
    assert {line.count("|") for line in table} == {len(COLUMNS) + 1}
    assert "load average 0.1 before and 2.0 after" in "\n".join(lines)


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "contrast.md"
    file.write_text(f"# Mine\n{BEGIN}\nold\n{END}\nalso mine\n")
    write_between_markers(file, "new\n")
    write_between_markers(file, "newer\n")
    assert file.read_text() == f"# Mine\n{BEGIN}\n\nnewer\n\n{END}\nalso mine\n"


def test_a_file_without_markers_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text("# Mine\n")
    with pytest.raises(InvalidInput, match="has no lines"):
        write_between_markers(file, "new")
    assert file.read_text() == "# Mine\n"


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    write_between_markers(tmp_path / "new.md", "text")
    assert (tmp_path / "new.md").read_text() == f"{BEGIN}\n\ntext\n\n{END}\n"


def test_the_picture_is_the_same_byte_by_byte_and_has_a_background(document: ContrastDocument, tmp_path: Path) -> None:
    first, second = (write_plot(document, tmp_path / name) for name in ("one.v1", "two"))
    assert [file.name for file in first] == ["one.v1.svg", "one.v1.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    svg = first[0].read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "fill: #ffffff" in svg
    assert "<dc:date>" not in svg
    assert first[1].read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_reported(document: ContrastDocument, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot write"):
        write_plot(document, tmp_path / "nowhere" / "contrast")


def contrast_without_matplotlib(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", WITHOUT_MATPLOTLIB, "contrast", "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_matplotlib_a_picture_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_nowhere(monkeypatch)
    answer = contrast_without_matplotlib("--plot", str(tmp_path / "picture"), "--json")
    assert answer.returncode == 2, answer.stderr
    error = json.loads(answer.stdout)["error"]
    assert (error["code"], error["field"]) == ("invalid_input", "plot")
    assert "pip install 'shardwise[plots]'" in error["message"]
    for_a_person = contrast_without_matplotlib("--plot", str(tmp_path / "picture"))
    assert (for_a_person.returncode, for_a_person.stdout) == (2, "")
    assert "pip install 'shardwise[plots]'" in for_a_person.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "written"), [((), set()), (("--plot", "picture"), {"picture.svg", "picture.png"})], ids=["no", "plot"]
)
def test_a_picture_is_written_only_if_it_is_asked_for(
    asked: tuple[str, ...],
    written: set[str],
    document: ContrastDocument,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def contrasted(*_: object) -> ContrastDocument:
        return document

    monkeypatch.setattr("cli.contrast.contrasted", contrasted)
    monkeypatch.chdir(tmp_path)
    assert main.run(["contrast", "--quick", "--json", *asked]) == 0
    assert {file.name for file in tmp_path.iterdir()} == written


def test_without_a_picture_matplotlib_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_nowhere(monkeypatch)
    answer = contrast_without_matplotlib("--json")
    assert answer.returncode == 3, answer.stderr
    assert json.loads(answer.stdout)["error"]["code"] != "invalid_input"


@pytest.mark.parametrize("option", ["plot", "markdown"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    lead_nowhere(monkeypatch)
    assert main.run(["contrast", f"--{option}", str(tmp_path / "none" / "file"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["field"] == option
    assert error["message"] == f"{option}: there is no folder {tmp_path / 'none'}"


def sent(ended: float, sql: str, connection: int = 1, trips: int = 1) -> Sent:
    return Sent("shard-1", connection, sql, ended - 0.5, ended, trips)


def test_a_row_is_locked_from_its_lock_to_the_commit() -> None:
    traced = [
        sent(1.0, "BEGIN;"),
        sent(2.0, "INSERT INTO hold"),
        sent(3.0, "SELECT id FROM account\nWHERE id = 1 FOR NO KEY UPDATE", trips=2),
        sent(4.0, "UPDATE account SET held = 1"),
        sent(6.0, "COMMIT;"),
        sent(7.0, "BEGIN;"),
        sent(8.0, "SELECT state FROM account FOR KEY SHARE"),
        sent(9.0, "COMMIT;"),
    ]
    assert locks_held(traced) == [Held("shard-1", 3.0)]
    assert (round_trips(traced), commits(traced)) == (9, 2)


def test_a_prepared_row_is_locked_until_another_connection_ends_it() -> None:
    traced = [
        sent(1.0, "BEGIN"),
        sent(2.0, "UPDATE account SET posted = 1"),
        sent(3.0, "PREPARE TRANSACTION 'shardwise:a'"),
        sent(4.0, "BEGIN;", connection=2),
        sent(5.0, "UPDATE account SET posted = 2", connection=2),
        sent(6.0, "ROLLBACK;", connection=2),
        sent(9.0, "COMMIT PREPARED 'shardwise:a'", connection=3),
    ]
    assert locks_held(traced) == [Held("shard-1", 1.0), Held("shard-1", 7.0)]
    assert commits(traced) == 2


@pytest.mark.parametrize("given", ["", "1,x", "0", "1,2000", "1,2,3,4,5,6,7,8,9", "٣", "-1"])
def test_concurrencies_that_are_none_are_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["contrast", f"--concurrency={given}", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == "concurrency"


def test_names_at_the_same_height_are_moved_apart_in_their_order() -> None:
    heights = {Protocol.LOCAL: 20.5, Protocol.SAGA: 20.0, Protocol.TWO_PHASE: 1.0}
    assert apart(heights, least=3.0) == {Protocol.TWO_PHASE: 1.0, Protocol.SAGA: 20.0, Protocol.LOCAL: 23.0}
