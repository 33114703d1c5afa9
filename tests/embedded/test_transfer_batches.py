"""`import transfers` as its users have it, also while the parts that carry it out are killed."""

from __future__ import annotations

import asyncio
import csv
import random
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from domain.money import Money
from domain.transfer_batch import batch_workflow_id
from domain.transfers import Transfer
from shards.transfers.batch.staging import Staged, exclusive_staging
from shardwise.connections import Connections, connected
from shardwise.files.transfer_file import GoodLine, batch_id_of, open_transfers, read_transfers
from shardwise.transfers.batches import Handle, TransferBatches
from stack.settings import load_settings
from tests.support.batches import settled_by_the_rules
from tests.support.command import Shardwise
from workflows.interfaces import BatchOptions, TransferBatch
from workflows.transfers.batch import TransferBatchWorkflow

DATA = Path(__file__).parent.parent / "data"
ACCOUNTS = 40
LINES = 900
SECONDS_MAX = 90


def outcomes(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def payroll(shardwise: Shardwise, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shardwise.inside("import", "customers", str(DATA / "payroll_accounts.csv")).exit_code == 0
    return Path(shutil.copy(DATA / "transfers.csv", tmp_path_factory.mktemp("payroll")))


def test_each_line_of_a_file_has_an_outcome_beside_it(shardwise: Shardwise, payroll: Path) -> None:
    answer = shardwise.inside("import", "transfers", str(payroll))
    document = answer.document
    assert answer.exit_code == 2, answer.stderr
    assert {name: document[name] for name in ("total", "settled", "declined", "pending", "invalid", "repeated")} == {
        "total": 12,
        "settled": 4,
        "declined": 3,
        "pending": 0,
        "invalid": 4,
        "repeated": 1,
    }
    assert document["by_reason"] == {
        "currency_mismatch": 1,
        "unknown_account": 1,
        "insufficient_funds": 1,
        "id_conflict": 1,
    }
    assert document["outcomes"] == str(payroll.with_name("transfers.outcomes.csv"))
    rows = outcomes(document["outcomes"])
    assert [(row["transfer_id"], row["source"], row["status"], row["reason"]) for row in rows] == [
        ("rent-b", "worker.b", "settled", ""),
        ("wage-a", "payroll", "settled", ""),
        ("wage-b", "payroll", "settled", ""),
        ("wage-c", "payroll", "declined", "currency_mismatch"),
        ("wage-d", "payroll", "declined", "unknown_account"),
        ("wage-e", "payroll", "declined", "insufficient_funds"),
        ("wage-f", "payroll", "invalid", ""),
        ("wage-g", "payroll", "invalid", ""),
        ("", "", "invalid", ""),
        ("wage-a", "payroll", "repeated", ""),
        ("wage-b", "payroll", "invalid", "id_conflict"),
        ("bonus-a", "payroll", "settled", ""),
    ]
    conflict = "transfer_id: wage-b of account payroll already names a transfer with other content"
    for line, wrong in ((8, "amount: "), (9, "target: "), (10, "not CSV: "), (12, conflict)):
        assert f"line {line}: {wrong}" in answer.stderr
    assert "more than zero" in rows[6]["detail"]
    assert {account: shardwise.money(account)[0] for account in ("payroll", "worker.a", "worker.b", "landlord")} == {
        "payroll": "0.00",
        "worker.a": "70.00",
        "worker.b": "5.00",
        "landlord": "25.00",
    }
    assert shardwise.inside("verify").exit_code == 0


def test_the_same_file_again_moves_nothing_and_reports_the_same(shardwise: Shardwise, payroll: Path) -> None:
    first = shardwise.inside("import", "transfers", str(payroll)).document
    before = Path(first["outcomes"]).read_bytes()
    again = shardwise.inside("import", "transfers", str(payroll)).document
    assert Path(again["outcomes"]).read_bytes() == before
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert shardwise.money("payroll")[0] == "0.00"


def test_a_file_of_good_lines_ends_with_0_and_may_have_its_columns_in_any_order(
    shardwise: Shardwise, payroll: Path, tmp_path: Path
) -> None:
    file = tmp_path / "back.csv"
    file.write_bytes(
        b"\xef\xbb\xbfamount,currency,reference,source,target,transfer_id\r\n1.00,USD,,landlord,payroll,back-1\r\n"
    )
    answer = shardwise.inside("import", "transfers", str(file))
    assert (answer.exit_code, answer.document["settled"]) == (0, 1), answer.stderr
    assert shardwise.money("payroll")[0] == "1.00"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("transfer_id,source\n", "expected the columns"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_holds_no_transfers_is_refused_and_leaves_nothing_behind(
    shardwise: Shardwise, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "bad.csv"
    if content is not None:
        file.write_text(content)
    answer = shardwise.inside("import", "transfers", str(file))
    assert (answer.exit_code, answer.document["error"]["field"]) == (2, "file")
    assert message in answer.document["error"]["message"]
    assert {each.name for each in tmp_path.iterdir()} <= {"bad.csv"}


def test_without_a_worker_the_batch_is_pending_and_the_next_run_ends_it(
    shardwise: Shardwise, payroll: Path, tmp_path: Path
) -> None:
    file = tmp_path / "late.csv"
    file.write_text("transfer_id,source,target,amount,currency,reference\nlate,landlord,worker.a,1.00,USD,\n")
    shardwise.kill_worker()
    waited = shardwise.inside("import", "transfers", str(file), "--stuck-after", "1")
    assert (waited.exit_code, waited.document["pending"]) == (3, 1), waited.stderr
    assert shardwise("up", "--detach").exit_code == 0
    ended = shardwise.inside("import", "transfers", str(file))
    assert (ended.exit_code, ended.document["settled"]) == (0, 1), ended.stderr


async def test_a_terminated_batch_is_started_again_by_recover(
    shardwise: Shardwise, payroll: Path, tmp_path: Path
) -> None:
    file = tmp_path / "cut-off.csv"
    file.write_text("transfer_id,source,target,amount,currency,reference\ncut-off,landlord,worker.a,1.00,USD,\n")
    shardwise.kill_worker()
    waited = shardwise.inside("import", "transfers", str(file), "--stuck-after", "1").document
    client = await Client.connect(shardwise.inside("status").document["temporal"]["address"])
    await client.get_workflow_handle(batch_workflow_id(waited["batch_id"])).terminate("an operator's mistake")
    assert shardwise("up", "--detach").exit_code == 0

    for started in (False, True):
        recovered = shardwise.inside("recover", *([] if started else ["--dry-run"]))
        assert recovered.document["batches"] == [{"batch_id": waited["batch_id"], "started": started}]
    ended = shardwise.inside("import", "transfers", str(file))
    assert ended.document["settled"] == 1, (ended.document, ended.stderr, outcomes(ended.document["outcomes"]))
    assert ended.document["batch_id"] == waited["batch_id"]
    assert shardwise.inside("recover").document["batches"] == []


# ── killed, again and again ─────────────────────────────────────────────────────────────────────────────────


def write_file(file: Path, prefix: str) -> None:
    """The same lines for every prefix, so that two runs can be compared. Many need what earlier or later ones bring."""
    chance = random.Random(20)
    with file.open("w") as out:
        out.write("transfer_id,source,target,amount,currency,reference\n")
        for number in range(LINES):
            source, target = chance.sample(range(ACCOUNTS), 2)
            out.write(f"T{number},{prefix}{source},{prefix}{target},{chance.randrange(1, 30)}.00,USD,\n")


def open_accounts(shardwise: Shardwise, folder: Path, prefix: str) -> None:
    file = folder / f"{prefix}accounts.csv"
    rows = [f"{prefix}{number},A,,USD,{number % 9 * 20}.00" for number in range(ACCOUNTS)]
    file.write_text("\n".join(["customer_id,name,email,currency,opening_balance", *rows]))
    assert shardwise.inside("import", "customers", str(file)).exit_code == 0


def balances(shardwise: Shardwise, prefix: str) -> list[str]:
    return [shardwise.money(f"{prefix}{number}")[0] for number in range(0, ACCOUNTS, 13)]


async def good_lines(file: Path) -> list[GoodLine]:
    with open_transfers(file) as source:
        return [line async for batch in read_transfers(source) for line in batch if isinstance(line, GoodLine)]


async def stage(to: Connections, file: Path) -> tuple[str, Staged]:
    with open_transfers(file) as source:
        batch_id = batch_id_of(source)
    async with exclusive_staging(to.cluster, await to.router.map(), batch_id) as staging:
        await staging.begin()
        for line in await good_lines(file):
            await staging.add(line.n, line.transfer)
        return batch_id, await staging.end()


@asynccontextmanager
async def begun(shardwise: Shardwise, file: Path) -> AsyncIterator[Handle]:
    """In small chunks, so that there is much to be killed between, and with a history that is soon long."""
    async with connected(load_settings(shardwise.data_dir), long_running=True) as to:
        batch_id, staged = await stage(to, file)
        options = BatchOptions(chunk_lines=10, range_lines=50, heartbeat_seconds=2, events_max=40)
        yield await TransferBatches(to.temporal).start(TransferBatch(batch_id, dict(staged.lines), options))


async def until_done(handle: Handle, lines: int) -> None:
    """Until the workflow has counted so many lines."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        counts = (await handle.query(TransferBatchWorkflow.progress)).counts
        if counts.settled + counts.declined + counts.postponed >= lines:
            return
        assert time.monotonic() < deadline, "the batch does not move"
        await asyncio.sleep(0.02)


def amounts(lines: Sequence[GoodLine]) -> list[Transfer]:
    return [line.transfer for line in lines]


@pytest.mark.timeout(400)
async def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(shardwise: Shardwise, tmp_path: Path) -> None:
    killed, calm = tmp_path / "killed.csv", tmp_path / "calm.csv"
    for file, prefix in ((killed, "k-"), (calm, "c-")):
        write_file(file, prefix)
        open_accounts(shardwise, tmp_path, prefix)
    undisturbed = shardwise.inside("import", "transfers", str(calm))
    assert undisturbed.exit_code == 0, undisturbed.stderr

    async with begun(shardwise, killed) as handle:
        for lines, kill in (
            (80, shardwise.kill_worker),
            (300, shardwise.kill_worker),
            (550, lambda: shardwise.kill_server("shard-2")),
        ):
            await until_done(handle, lines)
            kill()
            assert shardwise("up", "--detach").exit_code == 0
        assert (await handle.describe()).run_id != handle.first_execution_run_id  # its history was begun anew
        joined = shardwise.inside("import", "transfers", str(killed))

    assert joined.exit_code == 0, joined.stderr
    statuses = [row["status"] for row in outcomes(joined.document["outcomes"])]
    assert statuses == [row["status"] for row in outcomes(undisturbed.document["outcomes"])]
    accounts = {f"k-{number}": Money(number % 9 * 20_00, "USD").minor for number in range(ACCOUNTS)}
    expected = settled_by_the_rules(amounts(await good_lines(killed)), accounts)
    assert [status == "settled" for status in statuses] == expected
    assert balances(shardwise, "k-") == balances(shardwise, "c-")
    assert shardwise.inside("verify").exit_code == 0
