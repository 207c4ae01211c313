from pathlib import Path

import pytest

from omen_server.index import IndexUnavailable
from tests.ledgers import DAY, flip, payload_byte
from tests.omen_server.intake.keepers import draft, keep, kit, offsets


@pytest.mark.parametrize("follows", [True, False])
async def test_lost_record_is_replaced_once(tmp_path: Path, follows: bool) -> None:
    """
    A signal whose record cannot be read any more is appended anew, once: from then on the new record answers.
    """
    async with kit(tmp_path) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        await at.follower.wait_indexed(2)
    flip(segment := tmp_path / "ledger" / DAY / "signals-001.wal", payload_byte(segment, 0))
    async with kit(tmp_path, follows=follows) as at:
        found = []
        for _ in range(3):
            found += offsets(await keep(at.keeper, [draft(1)]))
            if follows:
                await at.follower.wait_indexed(at.ledger.durable_offset)
        assert found == [(3, False), (3, True), (3, True)]


async def test_lost_before_the_index_has_it(tmp_path: Path) -> None:
    """
    A record that is lost while the index is behind is replaced, and what waits for the index stays in order.
    """
    async with kit(tmp_path, follows=False) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        at.tail._window.clear()
        flip(segment := tmp_path / "ledger" / DAY / "signals-001.wal", payload_byte(segment, 0))
        assert offsets(await keep(at.keeper, [draft(1)])) == [(3, False)]
        await at.follower.catch_up()
        assert offsets(await keep(at.keeper, [draft(1), draft(2), draft(4)])) == [(3, True), (2, True), (4, False)]


async def test_index_that_began_anew_answers_nothing(tmp_path: Path) -> None:
    """
    While an index that has forgotten everything is not made again, no signal is taken for new: it is refused.
    """
    async with kit(tmp_path, follows=False) as at:
        await keep(at.keeper, [draft(1), draft(2)])
        await at.follower.catch_up()
        await keep(at.keeper, [draft(2)])
        await at.index.projection.cut(0)
        for number in (1, 3):
            (result,) = await keep(at.keeper, [draft(number)])
            assert isinstance(result, IndexUnavailable)
        assert at.ledger.durable_offset == 2
        await at.follower.catch_up()
        assert offsets(await keep(at.keeper, [draft(1)])) == [(1, True)]
