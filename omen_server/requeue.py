"""
Dead letters, tried again: a raw event goes through the pipeline once more, a refused signal to RiskCast.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from omen.v1 import signal_service_pb2 as pb
from omen_server.desk.dead_letters import DeadLetter, DeadLetters
from omen_server.emitter import Emitter
from omen_server.index import Wanted
from omen_server.intake.events import Events
from omen_server.intake.keeping import Keeper
from omen_server.intake.queries import CATCH_UP_S
from omen_server.operations import Requeued
from omen_server.pipeline.run import Outcome

DONE = (pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_DUPLICATE)


class Requeue:
    """
    Tries letters again. Those that go through are forgotten, the others stay with one attempt more.
    """

    def __init__(
        self,
        letters: DeadLetters,
        events: Events,
        keeper: Keeper[Outcome],
        emitter: Emitter | None,
        caught_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._letters, self._events, self._keeper = letters, events, keeper
        self._emitter, self._caught_up = emitter, caught_up

    async def __call__(self, ids: Sequence[str]) -> Requeued:
        """
        Try these again.
        """
        # A letter may be younger than what the index knows; one that is stuck fails what it cannot find.
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                await self._caught_up()
        done: list[str] = []
        uncounted: list[str] = []
        for letter in await self._letters.get(ids):
            if letter.stage == "pipeline":
                # What fails again is buried again, and that counts the attempt.
                ((result, _),) = await self._events.submit([letter.raw], "")
                if not isinstance(result, Exception):
                    done.append(letter.dead_letter_id)
                continue
            status = await self._push(letter)
            if status in DONE:
                done.append(letter.dead_letter_id)
            elif status != pb.EMIT_STATUS_REJECTED:  # A refusal is noted as such, and that counts the attempt.
                uncounted.append(letter.dead_letter_id)
        if done:
            await self._letters.forget(done)
        if uncounted:
            await self._letters.tried_again(uncounted)
        return Requeued(len(done), len(ids) - len(done))

    async def _push(self, letter: DeadLetter) -> pb.EmitStatus.ValueType:
        """
        Push the signal of a letter once more, if the ledger can still read it.
        """
        # From the refused record on: another one with its id may be an older one, with other content.
        wanted = Wanted(letter.signal_id, after_offset=max(0, letter.offset - 1))
        found = await self._keeper.first([wanted])
        if self._emitter is None or wanted not in found:
            return pb.EMIT_STATUS_UNSPECIFIED
        _, item = found[wanted]
        return (await self._emitter.push(item)).status
