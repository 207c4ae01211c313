"""
Verification and proofs over real gRPC: the exact place of every fault, and proofs that a stranger can check.
"""

from datetime import timedelta
from pathlib import Path

import pytest

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.position_pb2 import LedgerGap
from omen_client import check_proof
from omen_rpc import metrics
from omen_server.ledger import service
from omen_server.ledger.merkle import MerkleTree, audit_path, leaf_hash
from tests.hosting import refusal
from tests.ledgers import (
    DAY,
    TOMORROW,
    Clock,
    entries,
    everything,
    flip,
    frames_of,
    payload_byte,
    served,
    signal_id,
)

SEGMENT = "signals-001.wal"


async def test_an_intact_partition(place: Path) -> None:
    """
    The verdict counts the records, gives the manifest's root, and says what a pass does not prove.
    """
    async with served(place, Clock(TOMORROW), segment_records_max=30) as at:
        await at.ledger.append(entries(range(100)))
        sealed = await at.client.seal(DAY)
        *progress, verdict = await everything(at.client.verify(DAY))
        assert isinstance(verdict, pb.VerifyPartitionResponse.Verdict)
        assert (verdict.intact, verdict.record_count, verdict.fault_count) == (True, 100, 0)
        assert verdict.merkle_root == sealed.partition.merkle_root
        assert len(verdict.not_proven) >= 3
        assert progress[-1].records_done == progress[-1].records_total == 100
        assert progress[-1].bytes_done == progress[-1].bytes_total > 0


async def test_progress_comes_at_a_bounded_rate(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However fast a verification goes, its reader gets the first frame, the last one, and few between them.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(35_000)))
        monkeypatch.setattr(service, "PROGRESS_INTERVAL_S", 0.0)
        many = await everything(at.client.verify(DAY))
        assert [frame.records_done for frame in many[:-1]] == [10_000, 20_000, 30_000, 35_000]
        monkeypatch.setattr(service, "PROGRESS_INTERVAL_S", 3600.0)
        few = await everything(at.client.verify(DAY))
        assert [frame.records_done for frame in few[:-1]] == [10_000, 35_000]


async def test_a_flipped_bit_is_named(place: Path) -> None:
    """
    One bit on the disk of a running server: the verdict names partition, sequence, position, file and byte.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(20)))
        await at.client.seal(DAY)
        start = list(frames_of(place / DAY / SEGMENT))[11][0]
        flip(place / DAY / SEGMENT, payload_byte(place / DAY / SEGMENT, 11))
        before = metrics.LEDGER_CORRUPTIONS._value.get()
        verdicts = [(await everything(at.client.verify(DAY)))[-1] for _ in range(2)]
        for verdict in verdicts:
            assert (verdict.intact, verdict.record_count) == (False, 19)
            fault = verdict.faults[0]
            assert (fault.kind, fault.partition, fault.file) == ("frame", DAY, SEGMENT)
            assert fault.ledger_sequence == (1 << 32) + 12
            assert fault.ledger_index == 12
            assert fault.byte_offset == start
            assert verdict.fault_count == len(verdict.faults)
        places = {(each.file, each.byte_offset) for each in verdicts[0].faults}
        assert metrics.LEDGER_CORRUPTIONS._value.get() - before == len(places)  # Each once, for two looks.


async def test_damage_that_is_only_read_past_is_told_of(place: Path) -> None:
    """
    Damage that a stream or a count comes across is counted as one place, by whichever of them it is met and how often.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(20)))
    flip(place / DAY / SEGMENT, payload_byte(place / DAY / SEGMENT, 11))
    async with served(place) as at:
        before = metrics.LEDGER_CORRUPTIONS._value.get()
        batches = [batch async for batch in at.ledger.read()]
        assert sum(len(batch) for batch in batches) == 20
        assert metrics.LEDGER_CORRUPTIONS._value.get() - before == 1
        await everything(at.client.read_partition(DAY))
        assert (await at.client.watermark(DAY)).gaps
        assert metrics.LEDGER_CORRUPTIONS._value.get() - before == 1
    async with served(place) as at:
        await at.client.watermark(DAY)
        assert metrics.LEDGER_CORRUPTIONS._value.get() - before == 2  # Another process, so to say, and only the count.


async def test_many_faults_are_counted_and_cut(place: Path) -> None:
    """
    A verdict lists the first hundred faults and counts all.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(260)))
        await at.client.seal(DAY)
        path = place / DAY / SEGMENT
        places = [payload_byte(path, rank) for rank in range(0, 260, 2)]
        for byte in places:
            flip(path, byte)
        verdict = (await everything(at.client.verify(DAY)))[-1]
        assert len(verdict.faults) == 100
        assert verdict.fault_count >= 130


async def test_a_manifest_that_was_altered(place: Path) -> None:
    """
    A manifest that is not the one that was sealed is a fault of the seal, and reading goes on.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(5)))
        await at.client.seal(DAY)
        for file in ("_manifest.json", "_manifest-001.json"):
            path = place / DAY / file
            path.write_text(path.read_text().replace('"total_records": 5', '"total_records": 4'))
        verdict = (await everything(at.client.verify(DAY)))[-1]
        assert not verdict.intact
        assert {fault.kind for fault in verdict.faults} & {"seal", "manifest"}
        assert len(await everything(at.client.read_partition(DAY))) == 5


async def test_verification_leaves_when_its_reader_does(place: Path) -> None:
    """
    A reader that goes away frees its place: as many again can follow.
    """
    async with served(place) as at:
        await at.ledger.append(entries(range(12_000)))
        for _ in range(2 * service.AUDITS_MAX):
            call = at.stub.VerifyPartition(pb.VerifyPartitionRequest(partition=DAY))
            await call.read()
            call.cancel()
        assert (await everything(at.client.verify(DAY)))[-1].intact


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 100])
async def test_proofs_convince_a_stranger(place: Path, count: int) -> None:
    """
    Every record's proof leads to the root that was sealed, by a check that shares no code with the server.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries(range(count)))
        root = (await at.client.seal(DAY)).partition.merkle_root
        for number in {0, count // 2, count - 1}:
            proof = await at.client.prove(signal_id(number))
            assert (proof.partition, proof.merkle_root, proof.tree_size) == (DAY, root, count)
            assert (proof.leaf_index, proof.event.signal_id) == (number, signal_id(number))
            assert check_proof(proof.payload, proof.leaf_index, proof.tree_size, proof.audit_path, root)


async def test_no_proof_of_what_is_not_sealed(place: Path) -> None:
    """
    A signal that is nowhere, or only in an open partition, is SIGNAL_NOT_FOUND; an id that is none is the caller's.
    """
    async with served(place) as at:
        await at.ledger.append(entries([1]))
        for number in (1, 2):
            error = await refusal(at.stub.ProveInclusion(pb.ProveInclusionRequest(signal_id=signal_id(number))))
            assert (error.reason, error.metadata) == ("SIGNAL_NOT_FOUND", {"signal_id": signal_id(number)})
        for text in ("", "OMEN-", "omen-test", "OMEN-TEST\n", "OMEN-" + "A" * 33):
            error = await refusal(at.stub.ProveInclusion(pb.ProveInclusionRequest(signal_id=text)))
            assert [each.field for each in error.violations] == ["signal_id"]


def test_the_check_against_the_tree() -> None:
    """
    The check accepts what the ledger's own tree gives for sizes 1 to 40, and nothing that differs by a bit.
    """
    for size in range(1, 41):
        payloads = [f"record {number}".encode() for number in range(size)]
        tree = MerkleTree()
        for payload in payloads:
            tree.add(payload)
        root, leaves = tree.root().hex(), [leaf_hash(payload) for payload in payloads]
        for index, payload in enumerate(payloads):
            path = audit_path(leaves, index)
            assert check_proof(payload, index, size, path, root)
            assert not check_proof(payload + b"x", index, size, path, root)
            assert not check_proof(payload, index + 1, size, path, root) or size == 1
            assert not check_proof(payload, index, size, [*path, b"\0" * 32], root)
            assert not check_proof(payload, index, size, path[:-1], root) or size == 1
    assert not check_proof(b"", 0, 0, [], "")
    assert not check_proof(b"", -1, 1, [], leaf_hash(b"").hex())


async def test_a_proof_leaves_out_what_there_is_no_room_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where payload and decoded signal do not both fit, the payload stays: it is what the proof is about.
    """
    async with served(place, Clock(TOMORROW)) as at:
        await at.ledger.append(entries([1]))
        await at.client.seal(DAY)
        whole = await at.client.prove(signal_id(1))
        monkeypatch.setattr(service, "RESPONSE_BYTES_MAX", whole.ByteSize() - 1)
        proof = await at.client.prove(signal_id(1))
        assert (whole.HasField("event"), proof.HasField("event")) == (True, False)
        assert proof.payload == whole.payload


@pytest.mark.parametrize("lawful", [True, False])
async def test_segments_that_are_gone(place: Path, *, lawful: bool) -> None:
    """
    What retention deleted reads as one gap without an alarm; the same segments gone without a tombstone are a loss.
    """
    async with served(place, Clock(TOMORROW), retention_days=30, warm_days=20, hot_days=10) as at:
        await at.ledger.append(entries([1, 2]))
        await at.client.seal(DAY)
        await at.client.confirm_reconciled(DAY, 2, at.ledger.identity.ledger_epoch)
        before = metrics.LEDGER_CORRUPTIONS._value.get()
        if lawful:
            at.clock.now += timedelta(days=40)
            assert (await at.client.run_lifecycle()).steps[-1].action == pb.LIFECYCLE_ACTION_DELETE
        else:
            (place / DAY / SEGMENT).unlink()
        [gap] = [each for each in await everything(at.client.read_partition(DAY)) if isinstance(each, LedgerGap)]
        assert (gap.first_index, gap.last_index) == (1, 2)
        assert (gap.reason == "Deleted after its retention") == lawful
        assert metrics.LEDGER_CORRUPTIONS._value.get() - before == (0 if lawful else 1)
