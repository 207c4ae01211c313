"""
A keeper over a real ledger and a real index, as the server puts them together.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Never

from omen_rpc.signal_codec import digest_and_prepare
from omen_server.activity import Activity
from omen_server.index import Index, Wanted, open_index
from omen_server.index.follower import Follower
from omen_server.intake.keeping import Draft, Keeper, Kept, Result
from omen_server.ledger.durable import Disk
from omen_server.ledger.ledger import Ledger
from omen_server.stats import Stats
from omen_server.tail import Tail
from tests.ledgers import NOON, event, opened


@dataclass(frozen=True, slots=True)
class Kit:
    """
    What a test of keeping has at hand.
    """

    ledger: Ledger
    tail: Tail
    index: Index
    follower: Follower
    keeper: Keeper[Never]


@asynccontextmanager
async def kit(place: Path, disk: Disk | None = None, *, follows: bool = True, **limits: Any) -> AsyncIterator[Kit]:
    """
    Open everything in *place*; the index follows by itself unless the test says otherwise.
    """
    async with (
        opened(place / "ledger", disk=disk) as ledger,
        open_index(f"sqlite:///{place}/index.db") as index,
    ):
        tail = Tail(ledger)
        follower = Follower(ledger.identity, tail, index)
        await follower.catch_up()
        stats, activity = Stats(NOON), Activity()
        keeper: Keeper[Never] = Keeper(
            ledger, tail, index.lookup, lambda: follower.indexed_offset, stats=stats, activity=activity, **limits
        )
        following = asyncio.create_task(follower.run()) if follows else None
        try:
            yield Kit(ledger, tail, index, follower, keeper)
        finally:
            await keeper.close()
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following


def draft(number: int, emitted_at: datetime = NOON, description: str = "") -> Draft:
    """
    Return the n-th signal, ready to be kept.
    """
    made = event(number, emitted_at, description)
    return Draft(made, digest_and_prepare(made, "json"))


def wanted(each: Draft) -> Wanted:
    """
    Return how the ledger knows a draft.
    """
    return Wanted(each.event.signal_id, content_digest=each.event.content_digest)


async def keep(keeper: Keeper[Never], drafts: Sequence[Draft]) -> list[Result[Never]]:
    """
    Keep ready drafts.
    """
    by_wanted = {wanted(each): each for each in drafts}

    async def make(missing: Sequence[Wanted]) -> list[Draft]:
        return [by_wanted[each] for each in missing]

    return await keeper.keep([wanted(each) for each in drafts], make)


def offsets(results: Sequence[Result[Never]]) -> list[tuple[int, bool]]:
    """
    Return where each signal lies, and whether it lay there before.
    """
    return [(each.item.offset, each.cached) for each in results if isinstance(each, Kept)]
