import asyncio
import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import Evidence, OmenSignal
from omen_client import CallError, Exhausted, InvalidRequest
from omen_client.emitting import item_of
from omen_rpc.signal_codec import content_digest
from omen_server.ledger.durable import Disk
from tests.omen_server.far_side import ack_of
from tests.omen_server.intake.serving import raw_event, ready_signal, served, utc_now

NAN = float("nan")


def items(*numbers: int) -> list[pb.EmitSignalItem]:
    """
    Return ready signals as a batch has them.
    """
    return [pb.EmitSignalItem(signal=ready_signal(number)) for number in numbers]


async def test_signal_keeps_its_id_and_goes_all_the_way(tmp_path: Path) -> None:
    """
    A ready signal is durable and delivered under its own id, in an envelope that follows from it alone.
    """
    async with served(tmp_path) as at:
        result = await at.omen.emit(ready_signal(1, probability=0.0, evidence=[Evidence(source="desk")]))
        checked = await at.omen.verify_signal("OMEN-TEST000001")
    assert (result.status, result.ack_id) == (pb.EMIT_STATUS_DELIVERED, ack_of("OMEN-TEST000001"))
    assert result.event.signal.HasField("probability")
    assert result.event.input_event_hash.startswith("sha256:")
    assert not result.event.HasField("observed_at")
    assert result.event.content_digest == content_digest(result.event)
    assert (checked.matches, checked.minted) == (True, False)


async def test_same_content_again_is_cached_and_other_content_is_not(tmp_path: Path) -> None:
    """
    The same signal emitted at another time is the first record; with another title it is another record.
    """
    earlier = utc_now() - timedelta(hours=1)
    async with served(tmp_path) as at:
        first = await at.omen.emit(ready_signal(1), emitted_at=earlier)
        again = await at.omen.emit(ready_signal(1))
        other = await at.omen.emit(ready_signal(1, title="Another"))
    assert (again.cached, again.event, again.ack_id) == (True, first.event, first.ack_id)
    assert (other.cached, other.event.ledger_offset) == (False, 2)


async def test_newest_evidence_dates_the_observation(tmp_path: Path) -> None:
    """
    Without `observed_at` the newest evidence says when it was observed; no clock does.
    """
    old, new = utc_now() - timedelta(days=2), utc_now() - timedelta(days=1)
    signal = ready_signal(1, evidence=[Evidence(), Evidence(), Evidence()])
    signal.evidence[0].observed_at.FromDatetime(new)
    signal.evidence[1].observed_at.FromDatetime(old)
    async with served(tmp_path) as at:
        result = await at.omen.emit(signal)
    assert result.event.observed_at.ToDatetime() == new.replace(tzinfo=None)


def field_of(path: str) -> Callable[[CallError], bool]:
    """
    Return what tells that an error names a field.
    """
    return lambda error: path in [each.field for each in error.violations]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"signal_id": "omen-1"}, "signal_id"),
    ({"signal_id": ""}, "signal_id"),
    ({"title": ""}, "title"),
    ({"title": "x" * 501}, "title"),
    ({"title": "two\nlines"}, "title"),
    ({"title": "nul\x00"}, "title"),
    ({"probability": NAN}, "probability"),
    ({"probability": 1.5}, "probability"),
    ({"confidence_score": 0.7, "confidence_level": 3}, "confidence_level"),
    ({"trace_id": "short"}, "trace_id"),
    ({"source_event_id": "x" * 201}, "source_event_id"),
    ({"ruleset_version": "1\x00"}, "ruleset_version"),
    ({"evidence": [Evidence()] * 101}, "evidence"),
]


@pytest.mark.parametrize(("fields", "path"), WRONG)
async def test_what_is_wrong_with_a_signal_is_named(tmp_path: Path, fields: dict[str, Any], path: str) -> None:
    """
    A bad signal is refused by the path of its field, alone and in a batch, where its neighbours are kept.
    """
    bad = pb.EmitSignalItem(signal=ready_signal(2, **fields))
    async with served(tmp_path) as at:
        with pytest.raises(InvalidRequest) as alone:
            request = pb.EmitSignalRequest(signal=bad.signal)
            await at.omen.connection.call(at.omen._signals.EmitSignal, request)
        assert field_of(f"signal.{path}")(alone.value)
        first, refused, third = await at.omen.emit_all([*items(1), bad, *items(3)])
        assert at.ledger.durable_offset == 2
    assert isinstance(refused, InvalidRequest)
    assert field_of(f"signals[1].signal.{path}")(refused)
    assert [each.status for each in (first, third) if isinstance(each, pb.EmitResult)] == [pb.EMIT_STATUS_DELIVERED] * 2


async def test_unknown_fields_go_nowhere(tmp_path: Path) -> None:
    """
    What a newer client put into a signal that is not known here is not in the answer, the ledger or the push.
    """
    strange = OmenSignal.FromString(ready_signal(1).SerializeToString() + b"\xfa\x3e\x03new")
    async with served(tmp_path) as at:
        result = await at.omen.emit(strange)
        stored = await at.omen.signal("OMEN-TEST000001")
    assert result.event.signal == stored.event.signal == ready_signal(1)
    assert [each.signal for request in at.riskcast.requests for each in request.items] == [result.event]


async def test_time_ahead_is_refused_for_its_item_alone(tmp_path: Path) -> None:
    """
    An `emitted_at` more than five minutes ahead is refused; the rest of its batch is kept.
    """
    ahead = item_of(ready_signal(2), None, "", utc_now() + timedelta(minutes=6))
    late = item_of(ready_signal(3), None, "", utc_now() - timedelta(days=30))
    async with served(tmp_path) as at:
        first, refused, third = await at.omen.emit_all([*items(1), ahead, late])
        assert at.ledger.durable_offset == 2
    assert isinstance(refused, InvalidRequest)
    assert [each.field for each in refused.violations] == ["signals[1].emitted_at"]
    assert [type(each) for each in (first, third)] == [pb.EmitResult, pb.EmitResult]


async def test_signal_may_be_256_kib(tmp_path: Path) -> None:
    """
    A larger signal is refused with both sizes.
    """
    large = ready_signal(1, evidence=[Evidence(url="u" * 1990, source=str(number)) for number in range(100)])
    larger = OmenSignal()
    larger.CopyFrom(large)
    larger.context.keywords.extend(["k" * 190 + f"{number:04d}" for number in range(100)])
    larger.context.regions.extend(["r" * 190 + f"{number:04d}" for number in range(100)])
    larger.context.flags.extend(["f" * 190 + f"{number:04d}" for number in range(100)])
    larger.routing_hints.extend(["h" * 190 + f"{number:04d}" for number in range(100)])
    async with served(tmp_path) as at:
        assert (await at.omen.emit(large)).status == pb.EMIT_STATUS_DELIVERED
        with pytest.raises(InvalidRequest, match="256") as caught:
            await at.omen.emit(larger)
    assert caught.value.reason == "SIGNAL_TOO_LARGE"


@pytest.mark.parametrize("count", [0, 501])
async def test_batch_has_1_to_500(tmp_path: Path, count: int) -> None:
    """
    A batch that is empty or too long is refused as a whole.
    """
    async with served(tmp_path) as at:
        with pytest.raises(InvalidRequest) as caught:
            await at.omen.emit_all(items(*range(count)))
        assert at.ledger.durable_offset == 0
    assert [each.field for each in caught.value.violations] == ["signals"]


class FullFor(Disk):
    """
    A disk that refuses writes when told to.
    """

    full = False

    def write(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """
        Write, unless the disk is full.
        """
        if self.full:
            raise OSError(errno.ENOSPC, "no room")
        return super().write(fd, data, at)


async def test_ledger_that_fails_is_an_error_and_no_push(tmp_path: Path) -> None:
    """
    When the ledger cannot write, the call fails, RiskCast hears nothing, and the same signal is kept once it can.
    """
    disk = FullFor()
    async with served(tmp_path, disk=disk) as at:
        disk.full = True
        for send in (at.omen.emit(ready_signal(1)), at.omen.submit(raw_event()), at.omen.emit_all(items(1, 2))):
            with pytest.raises(Exhausted) as caught:
                await send
            assert caught.value.reason == "STORAGE_EXHAUSTED"
        assert at.riskcast.requests == []
        assert (await at.omen.operations.stats()).append_failures == 4
        disk.full = False
        assert (await at.omen.emit(ready_signal(1))).cached is False


async def test_emits_coalesce(tmp_path: Path) -> None:
    """
    Three hundred emits at once share few calls, each gets its own outcome, and a bad one touches nobody else.
    """
    async with served(tmp_path) as at:
        signals = [ready_signal(number) for number in range(300)]
        signals[7].title = ""
        found = await asyncio.gather(*(at.omen.emit(each) for each in signals), return_exceptions=True)
        stats = await at.omen.operations.stats()
    assert [at for at, each in enumerate(found) if isinstance(each, InvalidRequest)] == [7]
    assert {each.event.signal_id for each in found if isinstance(each, pb.EmitResult)} == {
        each.signal_id for at, each in enumerate(signals) if at != 7
    }
    assert stats.signals_appended == 299


async def test_nothing_is_pushed_without_a_riskcast(tmp_path: Path) -> None:
    """
    With no RiskCast configured signals stay in the ledger, and everything durable counts as settled.
    """
    async with served(tmp_path, connected=False) as at:
        result = await at.omen.emit(ready_signal(1))
        hot_path = await at.omen.operations.hot_path()
        watermark = await at.omen.watermark(result.event.ledger_partition)
    assert result.status == pb.EMIT_STATUS_LEDGER_ONLY
    assert "No RiskCast" in result.detail
    assert (hot_path.settled_offset, watermark.settled_index) == (1, 1)
    assert at.riskcast.requests == []
