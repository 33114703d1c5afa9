"""Files of transfers: each line is judged by itself, whatever is in the others."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.limits import LINE_BYTES_MAX
from domain.money import Money
from domain.transfers import Transfer
from shardwise.files.transfer_file import GoodLine, InvalidLine, batch_id_of, open_transfers, read_transfers
from shardwise.files.transfer_outcomes import InvalidLines, outcomes_file, outcomes_path

HEADER = b"transfer_id,source,target,amount,currency,reference\n"
GOOD = b"T,ada,bob,1.00,USD,\n"


async def lines_of(folder: Path, content: bytes) -> list[GoodLine | InvalidLine]:
    file = folder / "transfers.csv"
    file.write_bytes(content)
    with open_transfers(file) as source:
        return [line async for batch in read_transfers(source) for line in batch]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"T,ada,bob,1.00,USD", "expected 6 fields, got 5"),
        (b"T,ada,bob,1.00,USD,a,b", "expected 6 fields, got 7"),
        (b"T,ada,ada,1.00,USD,", "target: expected another account"),
        (b"T,ada,b/b,1.00,USD,", "target: expected 1 to 100 of letters"),
        (b",ada,bob,1.00,USD,", "transfer_id: expected 1 to 100"),
        (b"T,ada,bob,0.00,USD,", "amount: expected more than zero"),
        (b"T,ada,bob,1.001,USD,", "amount: expected at most 2 decimals"),
        (b"T,ada,bob,1.00,usd,", "currency: expected an ISO 4217 code"),
        (b"T,ada,bob,1.00,USD," + b"x" * 201, "reference: expected 1 to 200 characters, got 201"),
        (b"T,ada,bob,1.00,USD,a\x07", "reference: expected no control characters"),
        (b"T,ada,bob,1.00,USD,\xff", "expected UTF-8 text, got the byte 0xff"),
        (b'"T,ada,bob,1.00,USD,', "not CSV"),
        (b'T,ada,bob,1.00,USD,"a"b', "not CSV"),
        (b"x" * (LINE_BYTES_MAX + 1), f"expected at most {LINE_BYTES_MAX} bytes in a line"),
    ],
)
async def test_a_bad_line_is_reported_and_the_next_one_read(tmp_path: Path, line: bytes, message: str) -> None:
    bad, good = await lines_of(tmp_path, HEADER + line + b"\n" + GOOD)
    assert isinstance(bad, InvalidLine)
    assert bad.n == 2
    assert message in bad.message
    assert good == GoodLine(3, Transfer("T", "ada", "bob", Money(1_00, "USD")))


async def test_quotes_any_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf"target",source,amount,currency,reference,transfer_id\r\n\r\nbob,ada,1,USD,"a, ""b""",T'
    [line] = await lines_of(tmp_path, content)
    assert line == GoodLine(3, Transfer("T", "ada", "bob", Money(1_00, "USD"), 'a, "b"'))


@given(st.lists(st.binary(max_size=40), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_are_lines_and_every_line_is_reported(tmp_path: Path, given: list[bytes]) -> None:
    content = HEADER + b"\n".join(given) + b"\n" + GOOD
    lines = await lines_of(tmp_path, content)
    numbers = [n for n, line in enumerate(content.split(b"\n"), start=1) if n > 1 and line.rstrip(b"\r").strip()]
    assert [line.n for line in lines] == numbers
    assert isinstance(lines[-1], GoodLine)


async def test_the_batch_is_named_by_the_content_alone(tmp_path: Path) -> None:
    names = []
    for name, content in (("a", GOOD), ("b", GOOD), ("c", GOOD + b"\n")):
        (tmp_path / name).write_bytes(HEADER + content)
        with open_transfers(tmp_path / name) as file:
            names.append(batch_id_of(file))
    assert names[0] == names[1] != names[2]


def test_an_invalid_lines_id_is_kept_only_if_it_can_be_an_id() -> None:
    lines = InvalidLines()
    lines.add(InvalidLine(2, '=HYPERLINK("x")', "ada", "wrong"))
    [invalid] = lines.read()
    lines.close()
    assert (invalid.n, invalid.transfer_id, invalid.source, invalid.detail) == (2, "", "ada", "wrong")


def test_the_outcomes_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = outcomes_path(tmp_path / "pay.roll.csv")
    assert path.name == "pay.roll.outcomes.csv"
    path.write_text("before")
    with contextlib.suppress(RuntimeError), outcomes_file(path) as file:
        file.write("half")
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"
    with outcomes_file(path) as file:
        file.write("all")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(path.name, "all")]


def test_without_a_place_for_the_outcomes_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot write"), outcomes_file(tmp_path / "gone" / "x.outcomes.csv"):
        pass
