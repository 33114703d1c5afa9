"""Sessions: what one caller wrote and has seen, so that later reads show at least that, whichever server answers."""

from __future__ import annotations

from domain.session_tokens import parse_session, session_text
from shards.reading.held_session import HeldSession

__all__ = ["Session"]


class Session:
    """Give it to `Shardwise.within`: everything that is returned from then on raises it.

        session = Session()
        mine = app.within(session)
        await mine.accounts.open("ada", "USD", balance="100.00")
        await mine.accounts.show("ada", consistency="read-your-writes")   # from a replica that has it
        send_to_the_browser(session.token)

    `token` is text that another process, or the same caller's next request, continues from: `Session(token)`. Nothing
    about it is stored here. Several tasks may use one session at once.
    """

    def __init__(self, token: str | None = None) -> None:
        """`InvalidInput` naming `session` for text that is no token."""
        self.held = HeldSession()
        if token is not None:
            self.merge(token)

    @property
    def token(self) -> str:
        """Versioned, URL-safe, and bounded in size: about 80 characters for each shard that it touched. `Refused` with
        `session_too_large` above 128 shards."""
        return session_text(self.held.session)

    def merge(self, token: str) -> None:
        """Makes this session at or after another one too, for a caller that was served in several places."""
        self.held.session = self.held.session.merged(parse_session(token))
