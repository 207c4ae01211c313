"""
What RiskCast keeps refusing: one statement for each thing that is done to a batch.
"""

from collections.abc import Sequence
from typing import Any, Final

from omen_storage.postgres.connection import DURABLE, Database
from reconcile.v1.reconcile_service_pb2 import ParkedSignal
from reconciler.state.attempt import Attempt, Refusals, merged, pointer
from reconciler.state.limits import PARK_ATTEMPTS, StateLimits, bounded, check_batch, check_page, plain

_DAY_US: Final = 86_400_000_000

_COLUMNS: Final = """signal_id, partition, ledger_sequence, ledger_index, code, reason, message, attempts,
    first_attempt_us, last_attempt_us"""
_PARKED: Final = f"attempts >= {PARK_ATTEMPTS}"
_TOLD: Final = f"""
unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::bigint[],
       $9::bigint[], $10::bigint[]) WITH ORDINALITY AS told ({_COLUMNS}, place)"""
# Two reconcilers meet here when the lease of one ran out. One after the other they keep to the bound.
_ALONE: Final = "LOCK TABLE reconcile_parked IN SHARE ROW EXCLUSIVE MODE"
_CAME_ANOTHER_WAY: Final = f"DELETE FROM reconcile_parked WHERE last_attempt_us < $1 AND NOT {_PARKED}"  # noqa: S608 - no value.
_IS_ANOTHER: Final = """
DELETE FROM reconcile_parked AS kept USING unnest($1::text[], $2::bigint[], $3::text[])
    AS told (partition, ledger_index, signal_id)
WHERE (kept.partition, kept.ledger_index) = (told.partition, told.ledger_index) AND kept.signal_id <> told.signal_id"""
_AGAIN: Final = f"""
UPDATE reconcile_parked AS kept
SET code = told.code, reason = told.reason, message = told.message, attempts = kept.attempts + told.attempts,
    last_attempt_us = told.last_attempt_us
FROM {_TOLD}
WHERE (kept.partition, kept.ledger_index) = (told.partition, told.ledger_index)
RETURNING told.place"""  # noqa: S608 - the columns stand above.
_FIRST: Final = f"""
INSERT INTO reconcile_parked ({_COLUMNS})
SELECT {_COLUMNS} FROM {_TOLD} WHERE place <> ALL ($11::bigint[])
ORDER BY place LIMIT greatest(0, $12 - (SELECT count(*) FROM reconcile_parked))"""  # noqa: S608 - as above.
_PAGE: Final = f"""
SELECT number, {_COLUMNS}, waived_reason FROM reconcile_parked
WHERE number > $1 AND {_PARKED} AND $2 IN ('', partition) AND ($3 OR waived_reason = '')
ORDER BY number LIMIT $4"""  # noqa: S608 - the columns stand above.
_OF: Final = f"""
SELECT {_COLUMNS}, waived_reason FROM reconcile_parked
WHERE partition = $1 AND {_PARKED} AND ($2::bigint[] IS NULL OR ledger_index = ANY ($2))
ORDER BY ledger_index"""  # noqa: S608 - the columns stand above.
_FORGET: Final = "DELETE FROM reconcile_parked WHERE partition = $1 AND ledger_index = ANY ($2::bigint[])"
_WAIVE: Final = f"UPDATE reconcile_parked SET waived_reason = $1 WHERE signal_id = ANY ($2::text[]) AND {_PARKED}"  # noqa: S608 - no value.
_COUNT: Final = f"""
SELECT count(*) FROM reconcile_parked WHERE {_PARKED} AND waived_reason = '' AND $1 IN ('', partition)"""  # noqa: S608 - no value.


class PostgresParked:
    """
    The `Parked` of a database.
    """

    def __init__(self, database: Database, limits: StateLimits) -> None:
        self._database = database
        self._limits = limits

    async def count_attempts(self, attempts: Sequence[Attempt]) -> None:
        """
        See `Parked`.
        """
        check_batch(attempts)
        if not attempts:
            return
        told = merged(attempts)
        columns = [list(column) for column in zip(*map(_values, told), strict=True)]
        forgotten_us = max(each.last_us for each in told) - self._limits.refused_days_max * _DAY_US
        async with self._database.transaction(DURABLE) as connection:
            await connection.execute(_ALONE)
            await connection.execute(_CAME_ANOTHER_WAY, forgotten_us)
            await connection.execute(_IS_ANOTHER, columns[1], columns[3], columns[0])
            known = [place for (place,) in await connection.fetch(_AGAIN, *columns)]
            await connection.execute(_FIRST, *columns, known, self._limits.parked_max)

    async def forget(self, partition: str, indexes: Sequence[int]) -> None:
        """
        See `Parked`.
        """
        check_batch(indexes)
        if indexes:
            await self._database.change(_FORGET, plain(partition), [bounded(each) for each in indexes])

    async def page(
        self, partition: str, include_waived: bool, after_number: int, count_max: int
    ) -> list[tuple[int, ParkedSignal]]:
        """
        See `Parked`.
        """
        check_page(count_max)
        found = await self._database.rows(_PAGE, bounded(after_number), plain(partition), include_waived, count_max)
        return [(number, pointer(row)) for number, *row in found]

    async def of(self, partition: str, indexes: Sequence[int] | None) -> list[ParkedSignal]:
        """
        See `Parked`.
        """
        check_batch(indexes or ())
        wanted = None if indexes is None else [bounded(each) for each in indexes]
        return [pointer(row) for row in await self._database.rows(_OF, plain(partition), wanted)]

    async def waive(self, signal_ids: Sequence[str], reason: str) -> int:
        """
        See `Parked`.
        """
        check_batch(signal_ids)
        if not reason:
            raise ValueError("a waiver needs a reason")
        return await self._database.change(_WAIVE, plain(reason), [plain(each) for each in signal_ids])

    async def count(self, partition: str = "") -> int:
        """
        See `Parked`.
        """
        ((count,),) = await self._database.rows(_COUNT, plain(partition))
        return int(count)


def _values(told: Refusals) -> tuple[Any, ...]:
    last = told.last
    place = (last.signal_id, last.partition, last.ledger_sequence, last.ledger_index)
    return (*place, last.code, last.reason, last.message, told.count, told.first_us, told.last_us)
