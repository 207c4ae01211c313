from typing import Any

import pytest

from omen_rpc.errors import Reason, fault
from omen_server.desk.errors import DeskUnavailable
from omen_server.index import IndexUnavailable
from omen_server.ledger.errors import LedgerClosed
from omen_server.polling import submitting
from tests.omen_server.pipeline.raw_events import market


class Failing:
    """
    An intake in which each event comes to the same.
    """

    def __init__(self, result: Exception) -> None:
        self._result = result

    async def submit(self, raws: Any, _trace_parent: str) -> list[tuple[Exception, None]]:
        """
        Fail every event alike.
        """
        return [(self._result, None) for _ in raws]


@pytest.mark.parametrize(
    "passing",
    [IndexUnavailable("away"), DeskUnavailable("locked"), LedgerClosed(), fault(Reason.ERROR_REASON_OVERLOADED)],
    ids=lambda value: type(value).__name__,
)
async def test_what_passes_is_asked_for_again(passing: Exception) -> None:
    """
    Events that could not be taken in for now are not taken for seen: the poller hears of it.
    """
    submit: Any = submitting(Failing(passing))  # type: ignore[arg-type]  # It needs no more of an intake.
    with pytest.raises(type(passing)):
        await submit([market()])


async def test_what_does_not_pass_is_let_go() -> None:
    """
    Events that are refused for good do not come again and hold up nobody.
    """
    submit: Any = submitting(Failing(fault(Reason.ERROR_REASON_INVALID_FIELDS)))  # type: ignore[arg-type]  # As above.
    await submit([market()])
