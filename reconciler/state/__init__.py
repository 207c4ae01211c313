"""
What the reconciler remembers: how each partition stands, past runs, what RiskCast keeps refusing, and its own orders.

Two engines keep it, SQLite by default and PostgreSQL by URL; they share no code, and one suite holds both, and the
memory fake of the tests, to what is written here. No engine has a clock: times come from whoever calls.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from omen_storage.sqlite.database_file import path_in
from reconcile.v1.reconcile_service_pb2 import ParkedSignal, ReconcileResult, ReconcileState
from reconciler.state.attempt import Attempt
from reconciler.state.errors import (
    StateError,
    StateFailed,
    StateLocked,
    StateTooNew,
    StateUnavailable,
    StateUrlUnknown,
)
from reconciler.state.limits import BATCH_MAX, PAGE_MAX, PARK_ATTEMPTS, StateLimits

__all__ = [
    "BATCH_MAX",
    "PAGE_MAX",
    "PARK_ATTEMPTS",
    "Attempt",
    "Control",
    "Lease",
    "Parked",
    "Runs",
    "State",
    "StateError",
    "StateFailed",
    "StateLimits",
    "StateLocked",
    "StateTooNew",
    "StateUnavailable",
    "StateUrlUnknown",
    "Success",
    "open_state",
]


@dataclass(frozen=True, slots=True)
class Lease:
    """
    The right to reconcile, until it runs out.
    """

    owner: str
    until: datetime


class Runs(Protocol):
    """
    How each partition stands after its last run, and what past runs did.

    Every method may raise `StateUnavailable` (the caller may retry) or `StateFailed` (the process must stop).
    ValueError for pages of none or of more than `PAGE_MAX`.
    """

    async def save(self, result: ReconcileResult, state: ReconcileState | None) -> None:
        """
        Append a run to its partition's history and, if *state* is given, make it the partition's own: both or neither.

        Does not return before they survive a power cut. A run that was kept already, by run_id and partition, is not
        appended again, so that a save nobody heard back from can be repeated; *state* counts all the same. ValueError
        for a SKIPPED result or state, and for a state of another partition.
        """

    async def get(self, partition: str) -> ReconcileState | None:
        """
        Return how *partition* stands, or None when it was never reconciled.
        """

    async def states(self, before: str, count_max: int) -> list[ReconcileState]:
        """
        List the partitions whose names are before *before*, or all for "", last name first: a day, newest first.

        Late arrivals come right before their day's own.
        """

    async def history(self, partition: str, before_number: int, count_max: int) -> list[tuple[int, ReconcileResult]]:
        """
        List the runs of *partition*, or all for "", newest first, those older than *before_number* unless it is 0.

        So many of a partition are kept as the state was opened with, the newest. A number is never given twice.
        """


class Parked(Protocol):
    """
    The signals that RiskCast refuses for good, as pointers into the ledger, one a position.

    They are counted from the first refusal, and parked, which is to say listed, from the `PARK_ATTEMPTS`-th on. Raises
    as `Runs` does; ValueError also for more than `BATCH_MAX` at once.
    """

    async def count_attempts(self, attempts: Sequence[Attempt]) -> None:
        """
        Count refusals, and keep what the last of each position said. The first one's time is `parked_at`.

        A position that holds another signal than before begins anew. When there are as many as may be kept, new ones
        are not: they stay missing, and every comparison finds them.
        """

    async def forget(self, partition: str, indexes: Sequence[int]) -> None:
        """
        Forget these positions, parked or not: they were delivered.
        """

    async def page(
        self, partition: str, include_waived: bool, after_number: int, count_max: int
    ) -> list[tuple[int, ParkedSignal]]:
        """
        List the parked ones of *partition*, or all for "", oldest first, those after *after_number*.
        """

    async def of(self, partition: str, indexes: Sequence[int] | None) -> list[ParkedSignal]:
        """
        Return the parked ones of *partition* by position, waived ones too; only those at *indexes* if given.

        There are never more than the state was opened to keep.
        """

    async def waive(self, signal_ids: Sequence[str], reason: str) -> int:
        """
        Note why the parked ones with these ids need not arrive, and return how many there are, waived before or not.

        ValueError without a reason.
        """

    async def count(self, partition: str = "") -> int:
        """
        Count the parked ones of *partition*, or all for "", without those that were waived.
        """


class Control(Protocol):
    """
    The orders that outlive a restart, and the lease that keeps two reconcilers apart. Raises as `Runs` does.
    """

    async def paused(self) -> str | None:
        """
        Return why reconciling is paused; None when it is not.
        """

    async def pause(self, reason: str) -> bool:
        """
        Pause, for this reason from now on, and return whether it was paused before.
        """

    async def resume(self) -> bool:
        """
        Go on, and return whether it was paused before.
        """

    async def rate(self) -> float | None:
        """
        Return the replay rate that was last set, in signals a second; None when none ever was.
        """

    async def set_rate(self, signals_per_second: float) -> None:
        """
        Keep a replay rate. ValueError unless it is finite and above 0.
        """

    async def hold(self, owner: str, ttl_s: float, now: datetime) -> Lease | None:
        """
        Take the lease until *ttl_s* after *now*, or renew one's own; None while another's has not run out.

        Owners must differ between processes. ValueError for more than an hour: a crash would keep everybody out.
        """

    async def release(self, owner: str) -> None:
        """
        Give back the lease, if it is *owner*'s.
        """


class Success(Protocol):
    """
    When reconciling last left nothing missing, which a restart must not make younger. Raises as `Runs` does.
    """

    async def last(self) -> datetime | None:
        """
        Return when that was; None when it never was.
        """

    async def awaited_since(self, now: datetime) -> datetime:
        """
        Return when this was first asked, which *now* is if it never was before.
        """

    async def note(self, at: datetime) -> None:
        """
        Keep that it was so at *at*, unless it was later already.
        """


@dataclass(frozen=True, slots=True)
class State:
    """
    An open state. `engine` names it for the log, with its version.
    """

    runs: Runs
    parked: Parked
    control: Control
    success: Success
    engine: str


@asynccontextmanager
async def open_state(url: str, limits: StateLimits | None = None) -> AsyncIterator[State]:
    """
    Open the state at *url*: ``sqlite:///path`` or ``postgresql://…``. Create it or migrate it where needed.

    A file is opened by one process at a time: `StateLocked`. A database server may be shared; there the lease decides.
    Raises `StateTooNew` and `StateUrlUnknown` as well.
    """
    limits = limits or StateLimits()
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from reconciler.state.sqlite import open_sqlite  # noqa: PLC0415 - a driver is loaded where it is used.

        opened = open_sqlite(path_in(url, StateUrlUnknown), limits)
    elif scheme in ("postgresql", "postgres"):
        try:
            from reconciler.state.postgres import open_postgres  # noqa: PLC0415 - as above; asyncpg is an extra.
        except ImportError as error:
            raise StateFailed(f"a state in PostgreSQL needs omen-dualpath[postgres]: {error}") from error
        opened = open_postgres(url, limits)
    else:
        raise StateUrlUnknown(scheme)
    async with opened as state:
        yield state
