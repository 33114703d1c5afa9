"""A token gives back the key it was made of, and no other text is a token."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.page_tokens import CHARS_MAX, KeyId, KeyNumber, KeyTime, PageToken

ORDERS: PageToken[tuple[datetime, str]] = PageToken("orders", TypeAdapter(tuple[KeyTime, KeyId]))
NUMBERS: PageToken[int] = PageToken("numbers", TypeAdapter(KeyNumber))
OTHER: PageToken[int] = PageToken("other", TypeAdapter(KeyNumber))

IDS = st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True)
TIMES = st.datetimes(timezones=st.just(UTC))


def made_by_hand(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


def assert_refused(token: str, kind: PageToken[int] | PageToken[tuple[datetime, str]]) -> None:
    with pytest.raises(InvalidInput) as refused:
        kind.key(token)
    assert refused.value.field == "after"
    assert refused.value.message.isascii() or "…" in refused.value.message


@given(time=TIMES, order_id=IDS)
def test_a_key_comes_back_as_it_was(time: datetime, order_id: str) -> None:
    token = ORDERS.text((time, order_id))
    assert ORDERS.key(token) == (time, order_id)
    assert len(token) <= CHARS_MAX
    check_identifier(token[:100], "url-safe")


@given(token=st.text())
def test_a_text_that_was_not_issued_is_no_token(token: str) -> None:
    assert_refused(token, ORDERS)
    assert_refused(token, NUMBERS)


@given(time=TIMES, order_id=IDS, data=st.data())
def test_a_changed_token_is_refused_or_that_of_another_key(time: datetime, order_id: str, data: st.DataObject) -> None:
    token = ORDERS.text((time, order_id))
    at = data.draw(st.integers(0, len(token) - 1))
    changed = token[:at] + data.draw(st.characters()) + token[at + 1 :]
    try:
        key = ORDERS.key(changed)
    except InvalidInput:
        return
    assert ORDERS.text(key) == changed


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1])
def test_a_number_is_the_token_of_its_own_list_only(key: int) -> None:
    assert NUMBERS.key(NUMBERS.text(key)) == key
    assert_refused(NUMBERS.text(key), OTHER)


@pytest.mark.parametrize("content", ["numbers:-1", f"numbers:{2**63}", "numbers:1.0", 'numbers:"1"', "numbers: 1"])
def test_a_number_that_no_row_can_have_is_no_token(content: str) -> None:
    assert_refused(made_by_hand(content), NUMBERS)


@pytest.mark.parametrize(
    "content",
    [
        'orders:["2026-03-01T12:00:00","a"]',
        'orders:["2026-03-01T12:00:00+01:00","a"]',
        'orders:["0001-01-01T00:00:00+14:00","a"]',
        'orders:["2026-03-01T12:00:00Z","a/b"]',
        'orders:["2026-03-01T12:00:00Z"]',
        'orders:[1,"a"]',
        "orders:[[[[",
        "orders:" + "[" * 300,
        "orders:\x00",
    ],
)
def test_a_key_that_no_row_can_have_is_no_token(content: str) -> None:
    assert_refused(made_by_hand(content), ORDERS)


def test_only_times_in_utc_go_into_a_token() -> None:
    time = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    assert_refused(ORDERS.text((time, "a")), ORDERS)
