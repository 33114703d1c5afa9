"""A transfer that is cancelled while it waits for an answer: nothing is moved. An attempt that was cut off stops this
server's clock from skipping, so these have a server of their own."""

from __future__ import annotations

from domain.sagas import Reason
from tests.workflow.desk import only_hangs
from tests.workflow.teller import TWO_PHASE, Teller, assert_declined, let_go


async def test_cancelled_while_the_target_is_asked_nothing_is_moved(teller: Teller) -> None:
    hang = teller.hang_durably("admit")
    handle = await teller.send()
    await only_hangs(handle, hang)
    await handle.cancel()
    assert_declined(await handle.result(), Reason.CANCELLED)
    await let_go(hang)
    teller.bank.assert_at_rest(0)


async def test_cancelled_between_the_votes_both_are_aborted(teller: Teller) -> None:
    hang = teller.hang_durably("prepare target", durable=True)
    handle = await teller.send(TWO_PHASE)
    await only_hangs(handle, hang)
    await handle.cancel()
    assert_declined(await handle.result(), Reason.CANCELLED)
    await let_go(hang)
    teller.bank.assert_at_rest(0)
