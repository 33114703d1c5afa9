"""What accounts, holds and transfers must answer: their rules once more, in memory and in minor units.

Every call returns a word: its result, or the code of the refusal. Nothing here knows of shards but that two accounts
share one or do not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from domain.catalogue import Customer
from domain.identifiers import equity_account_id
from domain.transfers import ProtocolChoice, Transfer

DONE, NOTHING, DAMAGE = "done", "nothing", "integrity_violation"
PLACED, CAPTURED, RELEASED = "placed", "captured", "released"
PENDING, CONFIRMED, DECLINED = "pending", "confirmed", "declined"
ADMITTED, CREDITED, REFUSED, WITHDRAWN = "open", "credited", "refused", "withdrawn"
LATE = "already_compensated"

Line = tuple[str, str, int, str]


@dataclass
class Account:
    """`lines`: (movement's kind, saga id, signed amount, other side), the oldest first."""

    customer: Customer
    shard: str
    posted: int
    overdraft: int
    held: int = 0
    state: str = "open"
    version: int = 1
    lines: list[Line] = field(default_factory=list)

    @property
    def currency(self) -> str:
        return self.customer.opening_balance.currency

    def book(self, kind: str, saga_id: str, amount: int, other: str) -> None:
        self.posted += amount
        self.version += 1
        self.lines.append((kind, saga_id, amount, other))

    def set_aside(self, amount: int) -> None:
        self.held += amount
        self.version += 1


@dataclass
class Hold:
    account_id: str
    amount: int
    state: str = PLACED


@dataclass
class Row:
    """A transfer's row: its state, and the code it was declined for."""

    transfer: Transfer
    state: str
    reason: str | None = None


@dataclass
class Admission:
    transfer: Transfer
    state: str
    reason: str | None = None


class Books:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.holds: dict[str, Hold] = {}
        self.rows: dict[str, Row] = {}
        self.admissions: dict[str, Admission] = {}

    # ── accounts ────────────────────────────────────────────────────────────────────────────────────────────

    def open_account(self, customer: Customer, shard: str) -> str:
        account = self.accounts.get(customer.customer_id)
        if account is None:
            paid_in = customer.opening_balance
            account = Account(customer, shard, paid_in.minor, customer.overdraft.minor if customer.overdraft else 0)
            if paid_in.minor:
                name = customer.customer_id
                account.lines.append(("opening", f"opening/{name}", paid_in.minor, equity_account_id(paid_in.currency)))
            self.accounts[customer.customer_id] = account
        if account.state == "closed":
            return "account_closed"
        return account.state if account.customer == customer else "id_conflict"

    def change(self, account_id: str, to: str) -> str:
        account = self.accounts.get(account_id)
        if account is None:
            return "unknown_account"
        if account.state == to:
            return to
        if account.state == "closed":
            return "account_closed"
        if to == "closed" and (in_the_way := self._why_not_close(account_id, account)):
            return in_the_way
        account.state = to
        account.version += 1
        return to

    def _why_not_close(self, account_id: str, account: Account) -> str | None:
        if account.held:
            return "account_has_holds"
        if any(each.state == ADMITTED and each.transfer.target == account_id for each in self.admissions.values()):
            return "account_has_open_admissions"
        return "account_not_empty" if account.posted else None

    # ── holds ───────────────────────────────────────────────────────────────────────────────────────────────

    def place(self, saga_id: str, account_id: str, amount: int, currency: str) -> str:
        refused = self._why_not_spend(account_id, amount, currency)
        if refused or amount == 0:
            return refused or NOTHING
        self.accounts[account_id].set_aside(amount)
        self.holds[saga_id] = Hold(account_id, amount)
        return DONE

    def release(self, saga_id: str) -> str:
        hold = self.holds.get(saga_id)
        if hold is None or hold.state != PLACED:
            return NOTHING
        hold.state = RELEASED
        self.accounts[hold.account_id].set_aside(-hold.amount)
        return DONE

    def capture(self, saga_id: str, peer: str) -> str:
        hold = self.holds.get(saga_id)
        if hold is None or hold.state != PLACED:
            return DAMAGE
        hold.state = CAPTURED
        account = self.accounts[hold.account_id]
        account.held -= hold.amount
        account.book("capture", saga_id, -hold.amount, peer)
        return DONE

    # ── transfers ───────────────────────────────────────────────────────────────────────────────────────────

    def open(self, transfer: Transfer, choice: ProtocolChoice, is_local: bool) -> str:
        """The row's state or reason."""
        row = self.rows.get(transfer.saga_id)
        if row is None:
            if not is_local and choice is ProtocolChoice.LOCAL:
                return "not_local"
            row = self.rows[transfer.saga_id] = Row(transfer, PENDING)
            self._begin(row, is_local)
        if row.transfer != transfer:
            return "id_conflict"
        return row.reason or row.state

    def _begin(self, row: Row, is_local: bool) -> None:
        asked, amount = row.transfer, row.transfer.amount
        if not is_local:
            refused = self.place(asked.saga_id, asked.source, amount.minor, amount.currency)
            row.state, row.reason = (PENDING, None) if refused == DONE else (DECLINED, refused)
            return
        row.reason = self._why_not_spend(asked.source, amount.minor, amount.currency) or self._why_not_receive(
            asked.target, amount.currency
        )
        row.state = DECLINED if row.reason else CONFIRMED
        if row.state == CONFIRMED:
            self.accounts[asked.source].book("transfer", asked.saga_id, -amount.minor, asked.target)
            self.accounts[asked.target].book("transfer", asked.saga_id, amount.minor, asked.source)

    def decide(self, transfer: Transfer, refused: str | None) -> str:
        row = self.rows.get(transfer.saga_id)
        if row is None:
            row = self.rows[transfer.saga_id] = Row(transfer, DECLINED, refused or LATE)
        elif row.state == PENDING and refused is None:
            self.capture(transfer.saga_id, transfer.target)
            row.state = CONFIRMED
        elif row.state == PENDING:
            self.release(transfer.saga_id)
            row.state, row.reason = DECLINED, refused
        return row.reason or row.state

    def admit(self, transfer: Transfer) -> str:
        admission = self.admissions.get(transfer.saga_id)
        if admission is None:
            reason = self._why_not_receive(transfer.target, transfer.amount.currency)
            admission = Admission(transfer, REFUSED if reason else ADMITTED, reason)
            self.admissions[transfer.saga_id] = admission
        if admission.state == WITHDRAWN:
            return LATE
        return admission.reason or DONE

    def credit(self, transfer: Transfer) -> str:
        """Only where it is confirmed."""
        admission = self.admissions.get(transfer.saga_id)
        if admission is None or admission.state in (REFUSED, WITHDRAWN):
            return DAMAGE
        if admission.state == ADMITTED:
            admission.state = CREDITED
            target = self.accounts[transfer.target]
            target.book("credit", transfer.saga_id, transfer.amount.minor, transfer.source)
        return DONE

    def withdraw(self, transfer: Transfer) -> str:
        """Only where it is declined."""
        admission = self.admissions.setdefault(transfer.saga_id, Admission(transfer, WITHDRAWN))
        if admission.state == ADMITTED:
            admission.state = WITHDRAWN
        return DONE

    def state_of(self, transfer: Transfer) -> str | None:
        row = self.rows.get(transfer.saga_id)
        return row.state if row else None

    def _why_not_receive(self, account_id: str, currency: str) -> str | None:
        account = self.accounts.get(account_id)
        if account is None:
            return "unknown_account"
        if account.currency != currency:
            return "currency_mismatch"
        return None if account.state == "open" else "account_not_open"

    def _why_not_spend(self, account_id: str, amount: int, currency: str) -> str | None:
        refused = self._why_not_receive(account_id, currency)
        if refused is not None:
            return refused
        account = self.accounts[account_id]
        available = account.posted - account.held + account.overdraft
        return "insufficient_funds" if available < amount else None

    # ── what must be true of the model itself ───────────────────────────────────────────────────────────────

    def missing(self) -> dict[str, int]:
        """By currency, money that was paid in and is neither on an account nor on its way; empty at any time."""
        found: dict[str, int] = defaultdict(int)
        for account in self.accounts.values():
            found[account.currency] += account.customer.opening_balance.minor - account.posted
        for saga_id, hold in self.holds.items():
            admission = self.admissions.get(saga_id)
            if hold.state == CAPTURED and (admission is None or admission.state != CREDITED):
                found[self.accounts[hold.account_id].currency] -= hold.amount
        return {currency: amount for currency, amount in found.items() if amount}
