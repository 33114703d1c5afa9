"""A transfer that is cancelled while it waits for an answer: nothing is moved. An attempt that was cut off stops this
server's clock from skipping, so these have a server of their own."""

from __future__ import annotations

from domain.sagas import Reason
from tests.workflow.order_driver import only_hangs
from tests.workflow.transfer_driver import TWO_PHASE, TransferDriver, assert_declined, let_go


async def test_cancelled_while_the_target_is_asked_a_transfer_moves_nothing(transfers: TransferDriver) -> None:
    hang = transfers.hang_durably("admit")
    handle = await transfers.send()
    await only_hangs(handle, hang)
    await handle.cancel()
    assert_declined(await handle.result(), Reason.CANCELLED)
    await let_go(hang)
    transfers.bank.assert_at_rest(0)


async def test_cancelled_between_the_votes_both_are_aborted(transfers: TransferDriver) -> None:
    hang = transfers.hang_durably("prepare target", durable=True)
    handle = await transfers.send(TWO_PHASE)
    await only_hangs(handle, hang)
    await handle.cancel()
    assert_declined(await handle.result(), Reason.CANCELLED)
    await let_go(hang)
    transfers.bank.assert_at_rest(0)
