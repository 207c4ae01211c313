from omen_rpc.position import Position
from omen_server.tail import AsRead, Committed
from omen_server.waiting import Waiting
from tests.ledgers import DAY, event


def item(number: int) -> Committed:
    """
    Return the n-th signal at its place.
    """
    return Committed(Position(DAY, number, number, number, number, 0), event(number), AsRead(b""), 100)


def numbers(items: list[Committed]) -> list[int]:
    """
    Return which signals these are.
    """
    return [each.offset for each in items]


def test_what_is_pushed_again_takes_half_of_a_call() -> None:
    """
    While fresh signals wait, those pushed again have half of each call at most; alone, they have all of it.
    """
    waiting = Waiting()
    waiting.again.extend(map(item, range(1, 12)))
    waiting.fresh.extend(map(item, range(101, 104)))
    assert numbers(waiting.take(4, 1 << 20)) == [1, 2, 101, 102]
    assert numbers(waiting.take(4, 1 << 20)) == [3, 4, 103]
    assert numbers(waiting.take(4, 1 << 20)) == [5, 6, 7, 8]
    assert numbers(waiting.take(1, 1 << 20)) == [9]
    assert waiting
