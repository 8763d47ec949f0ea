"""A closed gate lets one call through at a time, as a probe, and another one when that call goes away."""

import asyncio

from tickerd.cause import Cause
from tickerd.gate import PROBE_UNREACHABLE_FIRST_S, Gate
from tickerd.observe.counters import Report

UNREACHABLE = Cause("ConnectionError", "nobody answers", permanent=False)


def closed() -> Gate:
    gate = Gate(Report(), lambda: True)
    gate.close(UNREACHABLE, probed=False)
    return gate


def test_when_who_waits_to_be_the_probe_goes_away_another_is_it() -> None:
    async def story() -> bool:
        gate = closed()
        first, second = (asyncio.create_task(gate.passage()) for _ in range(2))
        await asyncio.sleep(PROBE_UNREACHABLE_FIRST_S / 5)
        first.cancel()
        return await asyncio.wait_for(second, 20 * PROBE_UNREACHABLE_FIRST_S)

    assert asyncio.run(story()) is True


def test_when_the_probe_itself_is_given_up_another_is_made() -> None:
    async def story() -> bool:
        gate = closed()
        assert await gate.passage() is True
        waiting = asyncio.create_task(gate.passage())
        await asyncio.sleep(2 * PROBE_UNREACHABLE_FIRST_S)
        assert not waiting.done()  # one at a time
        gate.give_up()
        return await asyncio.wait_for(waiting, 20 * PROBE_UNREACHABLE_FIRST_S)

    assert asyncio.run(story()) is True


def test_all_who_wait_pass_once_it_is_open() -> None:
    async def story() -> list[bool]:
        gate = closed()
        assert await gate.passage() is True
        waiting = [asyncio.create_task(gate.passage()) for _ in range(3)]
        await asyncio.sleep(0)
        gate.open()
        return await asyncio.wait_for(asyncio.gather(*waiting), 1)

    assert asyncio.run(story()) == [False, False, False]
