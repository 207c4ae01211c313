"""
Questions that no page waits for: asked once, answered to whoever comes back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from omen_console import asking as module
from omen_console.asking import Asking
from omen_console.upstream import Answer
from tests.console.far import Far, upstream_of
from tests.hosting import until


@asynccontextmanager
async def asking_of(far: Far) -> AsyncIterator[Asking]:
    """
    Ask *far*, with no patience at all.
    """
    async with asyncio.timeout(30), upstream_of(far) as upstream:
        asking = Asking(upstream, patience_s=0)
        yield asking
        await asking.close()


def state(answer: Answer[object]) -> str:
    """
    Return what is the matter with an answer, in a word.
    """
    return answer.trouble.state if answer.trouble is not None else ""


async def test_a_question_is_asked_once_however_often_pages_look() -> None:
    """
    Who does not wait is told that it is asked; all who look again meet the same question, and the first one after its
    end has the answer.
    """
    far = Far()
    go_on = far.hold("work")
    async with asking_of(far) as asking:
        found = [await asking.ask("omen", "work", lambda: far.asked("work", 7)) for _ in range(5)]
        assert {(state(each), each.value) for each in found} == {("asking", None)}
        go_on.set()
        await until(lambda: all(task.done() for task in asking._under_way.values()))
        answer = await asking.ask("omen", "work", lambda: far.asked("work", 8))
        assert (state(answer), answer.value, far.calls) == ("", 7, ["work"])
        far.hold("work")
        again = await asking.ask("omen", "work", lambda: far.asked("work", 9), counting="It counts.")
        assert again.trouble is not None
        assert (again.value, again.trouble.state, again.trouble.text) == (7, "counting", "It counts.")


async def test_a_deadline_is_told_to_whoever_looks_again() -> None:
    """
    A server that never answers is asked until its deadline; then a page says that it is slow, and does not ask again
    behind it.
    """
    far = Far()
    far.hold("work")
    async with asking_of(far) as asking:
        await asking.ask("omen", "work", lambda: far.asked("work", 7), timeout_s=0.01)
        await until(lambda: all(task.done() for task in asking._under_way.values()))
        answer = await asking.ask("omen", "work", lambda: far.asked("work", 7))
        assert (state(answer), far.calls) == ("slow", ["work"])


async def test_an_answer_that_nobody_came_back_for_is_forgotten() -> None:
    """
    Whoever looks much later is not given it.
    """
    far = Far()
    go_on = far.hold("work")
    async with asking_of(far) as asking:
        await asking.ask("omen", "work", lambda: far.asked("work", 7))
        go_on.set()
        await until(lambda: all(task.done() for task in asking._under_way.values()))
        far.hold("work")
        now = asking._upstream.now
        asking._upstream.now = lambda: now() + module.KEPT + timedelta(seconds=1)
        answer = await asking.ask("omen", "work", lambda: far.asked("work", 8))
        assert (state(answer), answer.value, far.calls) == ("asking", 7, ["work", "work"])


async def test_after_a_change_nobody_is_given_what_was_answered_before() -> None:
    """
    An answer from before is dropped, and what is still under way is left alone.
    """
    far = Far()
    go_on, later = far.hold("work"), far.hold("more")
    async with asking_of(far) as asking:
        await asking.ask("omen", "work", lambda: far.asked("work", 7))
        await asking.ask("omen", "more", lambda: far.asked("more", 1))
        go_on.set()
        await until(asking._under_way["omen", "work"].done)
        asking.expire()
        assert (await asking.ask("omen", "work", lambda: far.asked("work", 8))).value == 8
        later.set()
        assert (await asking.ask("omen", "more", lambda: far.asked("more", 2))).value == 1


async def test_no_more_is_under_way_than_may_be() -> None:
    """
    One question more is not asked before another has ended.
    """
    far = Far()
    go_on = far.hold("work")
    async with asking_of(far) as asking:
        for number in range(module.UNDER_WAY_MAX + 3):
            answer = await asking.ask("omen", f"work {number}", lambda: far.asked("work", 7))
            assert state(answer) == "asking"
        assert len(far.calls) == module.UNDER_WAY_MAX
        go_on.set()
        await until(lambda: all(task.done() for task in asking._under_way.values()))
        assert (await asking.ask("omen", "work 0", lambda: far.asked("work", 7))).value == 7
        assert (await asking.ask("omen", "one more", lambda: far.asked("work", 8))).value == 8
        assert len(far.calls) == module.UNDER_WAY_MAX + 1
