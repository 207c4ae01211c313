"""
What a caller is told when it is the servers behind the reconciler that refuse.
"""

from collections.abc import Awaitable
from pathlib import Path

import pytest

from omen_client import CallError, OmenClient, RiskCastClient
from omen_rpc.errors import Reason, fault
from reconciler.service import translated
from tests.reconciler.test_service import asked
from tests.reconciler.world import DAY


async def refused(call: Awaitable[object]) -> CallError:
    """
    Return what a call ended with.
    """
    with pytest.raises(CallError) as caught:
        await call
    return caught.value


async def test_only_what_is_the_caller_s_own_matter_is_passed_on(tmp_path: Path) -> None:
    """
    Our own errors are left as they are; whatever a peer answered, or did not answer, is said to be that peer's, but for
    a partition that nobody knows.
    """
    own = fault(Reason.ERROR_REASON_RECONCILE_PAUSED, metadata={"reason": "a move"})
    assert translated(own) is own
    async with asked(tmp_path) as at:
        told = await refused(at.world.near.client.watermark("2020-02-29"))
        unknown = translated(told)
        assert (unknown.reason, unknown.domain) == ("PARTITION_NOT_FOUND", "")
        assert unknown.message == told.message  # The remedy once, and not once more.
        async with OmenClient(at.address) as no_omen, RiskCastClient("127.0.0.1:1", attempts_max=1) as nobody:
            wrong = await refused(no_omen.watermark(DAY))
            lost = await refused(nobody.coverage(DAY, 1))
        bad = await refused(at.world.far.client.coverage("no partition", 1))
        said = [(each.domain, translated(each)) for each in (wrong, lost, bad)]
        assert [domain for domain, _ in said] == ["omen.v1", "", "riskcast.v1"]
        assert {each.reason for _, each in said} == {"PEER_UNAVAILABLE"}
        assert [each.metadata["peer"] for _, each in said] == ["OMEN", "OMEN or RiskCast", "RiskCast"]
