"""A hold: new messages wait, turns in flight end, nothing is lost, and it ends by itself."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from moss.domain.frozen import sha256
from moss.errors import TargetError
from moss.hold.words import HeldSays

from .conftest import Agent, Front, free_port, proxy, say_ok


async def test_messages_wait_under_a_hold_and_flow_in_order_when_released(front: Front, agent: Agent) -> None:
    await front.hold()
    posts = []
    for number in range(5):
        posts.append(asyncio.ensure_future(front.post(f"m{number}")))
        await front.waiting(number + 1)
    assert agent.got == []
    released = await front.ask(front.client.release, "k")
    assert [await post for post in posts] == [(200, f"ok m{number}") for number in range(5)]
    assert (released.waited, released.refused) == (5, 0)
    assert released.longest_wait > 0


async def test_turns_in_flight_end_before_the_hold_says_so(front: Front, agent: Agent) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(text="done")

    agent.answer = answer
    turn = asyncio.ensure_future(front.post("slow"))
    await front.in_flight(1)
    holding = asyncio.ensure_future(front.hold())
    await front.held("k")
    late = asyncio.ensure_future(front.post("late"))
    await front.waiting(1)
    assert not holding.done()
    go_on.set()
    held = await holding
    assert isinstance(held, HeldSays)
    assert (held.drained, held.complete) == (1, True)
    assert await turn == (200, "done")
    await front.ask(front.client.release, "k")
    assert (await late)[0] == 200


async def test_a_stream_of_events_is_a_turn_in_flight(front: Front, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        return response

    agent.answer = answer
    async with front.http.get(front.url + "/events") as stream:
        await stream.content.readuntil(b"\n\n")
        held = await front.hold(drain=0.05)
        assert isinstance(held, HeldSays)
        assert (held.drained, held.complete) == (0, False)
        assert held.seconds >= 0.05


async def test_the_deadline_lets_go_by_itself_with_503_and_retry_after(front: Front, agent: Agent) -> None:
    await front.hold(deadline=0.2)
    async with front.http.post(front.url + "/say", data=b"x") as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
    assert (await front.ask(front.client.status)).held is None
    assert await front.post("after") == (200, "ok after")
    released = await front.ask(front.client.release, "k")
    assert (released.waited, released.refused) == (1, 1)


async def test_more_than_may_wait_are_refused_and_counted(front: Front) -> None:
    await front.hold(waiting=2)
    posts = []
    for number in range(2):
        posts.append(asyncio.ensure_future(front.post(f"m{number}")))
        await front.waiting(number + 1)
    async with front.http.post(front.url + "/say", data=b"x") as response:
        assert response.status == 503
        assert "Retry-After" in response.headers
    released = await front.ask(front.client.release, "k")
    assert (released.waited, released.refused) == (2, 1)
    assert [await post for post in posts] == [(200, "ok m0"), (200, "ok m1")]


async def test_health_passes_while_held_and_is_no_turn(front: Front, agent: Agent) -> None:
    await front.hold()
    async with front.http.get(front.url + "/health") as response:
        assert response.status == 200
    assert (await front.ask(front.client.status)).waiting == 0


async def test_a_waiting_client_that_leaves_frees_its_place(front: Front, agent: Agent) -> None:
    await front.hold(waiting=1)
    gone = asyncio.ensure_future(front.post("gone"))
    await front.waiting(1)
    gone.cancel()
    await front.waiting(0)
    stays = asyncio.ensure_future(front.post("stays"))
    await front.waiting(1)
    await front.ask(front.client.release, "k")
    assert await stays == (200, "ok stays")
    assert len(agent.got) == 1


async def test_waiting_bodies_are_not_read_into_memory(front: Front, agent: Agent) -> None:
    sent = 0

    async def pieces() -> object:
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 16
            yield b"x" * (1 << 16)

    async def count(request: web.BaseRequest) -> web.StreamResponse:
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
        return web.Response(text=str(size))

    agent.answer = count
    await front.hold()
    post = asyncio.ensure_future(front.http.post(front.url + "/up", data=pieces()))
    await front.waiting(1)
    before = -1
    while before != sent:  # until the sender is stopped by the connection's own windows
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 32 << 20
    await front.ask(front.client.release, "k")
    async with await post as response:
        assert int(await response.text()) == 1000 << 16


async def test_a_repeated_hold_keeps_the_first_deadline_and_another_swap_is_told(front: Front) -> None:
    await front.hold(deadline=30)
    await front.hold(deadline=3000)
    remaining = (await front.ask(front.client.status)).remaining
    assert remaining is not None
    assert remaining <= 30
    with pytest.raises(TargetError, match="held by k already"):
        await front.hold(key="other")


async def test_a_repeated_release_says_the_same_and_one_without_a_hold_nothing(front: Front) -> None:
    await front.hold()
    post = asyncio.ensure_future(front.post("m"))
    await front.waiting(1)
    first = await front.ask(front.client.release, "k")
    await post
    assert await front.ask(front.client.release, "k") == first
    assert (await front.ask(front.client.release, "never")).waited == 0


async def test_a_message_that_found_no_agent_waits_in_the_hold_that_comes(front: Front, agent: Agent) -> None:
    """The agent died: what comes before the controller holds must not run out of patience under the hold."""
    await agent.stop()
    post = asyncio.ensure_future(front.post("m"))
    await asyncio.wait([post], timeout=0.05)
    held = await front.hold()
    assert isinstance(held, HeldSays)
    assert held.complete
    await front.waiting(1)
    await agent.start()
    await front.ask(front.client.release, "k")
    assert await post == (200, "ok m")


async def test_messages_answered_after_a_release_on_a_new_start_are_logged_until_settled(
    front: Front, agent: Agent
) -> None:
    await front.post("before")
    await front.hold()
    waited = asyncio.ensure_future(front.post("waited", X_Session_Id="s1"))
    await front.waiting(1)
    agent.boot = "boot-2"
    await front.name(agent)
    await front.ask(front.client.release, "k")
    await waited
    await front.post("next", path="/say?x=1")
    async with front.http.get(front.url + "/health"):
        pass
    lines = await front.ask(front.client.answered, "k")
    assert [(line.method, line.path, line.status, line.session) for line in lines] == [
        ("POST", "/say", 200, "s1"),
        ("POST", "/say", 200, None),
    ]
    assert [line.body_sha for line in lines] == [sha256(b"waited"), sha256(b"next")]
    assert len({line.id for line in lines}) == 2
    await front.hold()
    agent.boot = "boot-1-again"
    await front.name(agent)
    await front.ask(front.client.release, "k")
    await front.post("by the old one, restored")
    assert await front.ask(front.client.answered, "k") == lines
    await front.ask(front.client.settle, "k")
    assert await front.ask(front.client.answered, "k") == ()


async def test_what_a_new_start_answers_after_the_hold_ran_out_is_logged_and_the_hold_can_be_taken_again(
    front: Front, agent: Agent
) -> None:
    await front.hold(deadline=0.2)
    agent.boot = "boot-2"
    await front.name(agent)
    assert (await front.post("turned away"))[0] == 503
    assert await front.post("by the new one") == (200, "ok by the new one")
    await front.hold()
    waited = asyncio.ensure_future(front.post("waited"))
    await front.waiting(1)
    released = await front.ask(front.client.release, "k")
    assert (released.waited, released.refused) == (2, 1)
    assert await waited == (200, "ok waited")
    lines = await front.ask(front.client.answered, "k")
    assert [line.body_sha for line in lines] == [sha256(b"by the new one"), sha256(b"waited")]
    await front.hold()
    await front.ask(front.client.release, "k")
    await front.post("nothing new")
    assert await front.ask(front.client.answered, "k") == lines


async def test_a_hold_that_ran_out_before_anything_changed_opens_no_log(front: Front) -> None:
    await front.hold(deadline=0.1)
    assert (await front.post("turned away"))[0] == 503
    await front.post("by the old one")
    assert await front.ask(front.client.answered, "k") == ()


async def test_a_message_is_named_by_whose_it_is_when_it_came_and_its_hash(front: Front, agent: Agent) -> None:
    await front.hold()
    agent.boot = "boot-2"
    await front.name(agent)
    await front.ask(front.client.release, "k")
    await front.post("m", X_Session_Id="s" * 100)
    (line,) = await front.ask(front.client.answered, "k")
    whose, _, when, sha = line.id.split()
    assert (whose, sha) == ("s" * 80, sha256(b"m").removeprefix("sha256:")[:12])
    assert line.at.isoformat(timespec="milliseconds") == when


async def test_a_hold_that_changed_nothing_opens_no_log(front: Front) -> None:
    await front.hold()
    await front.ask(front.client.release, "k")
    await front.post("m")
    assert await front.ask(front.client.answered, "k") == ()


async def test_a_proxy_started_anew_goes_on_with_the_hold_its_backend_and_its_log(tmp_path: Path, agent: Agent) -> None:
    folder, port = tmp_path / "hold", free_port()
    async with proxy(folder, port) as first:
        await first.name(agent)
        await first.hold(deadline=30)
    async with proxy(folder, port) as second:
        status = await second.ask(second.client.status)
        assert (status.held, status.backend and status.backend.port) == ("k", agent.port)
        assert status.remaining is not None
        assert 20 < status.remaining <= 30
        post = asyncio.ensure_future(second.post("m"))
        await second.waiting(1)
        agent.boot = "boot-2"
        await second.name(agent)
        await second.ask(second.client.release, "k")
        assert await post == (200, "ok m")
    async with proxy(folder, port) as third:
        assert len(await third.ask(third.client.answered, "k")) == 1
        await third.post("n")
        assert len(await third.ask(third.client.answered, "k")) == 2


async def test_a_hold_that_ran_out_while_the_proxy_was_down_is_over(tmp_path: Path, agent: Agent) -> None:
    folder, port = tmp_path / "hold", free_port()
    async with proxy(folder, port) as first:
        await first.name(agent)
        await first.hold(deadline=0.05)
    await asyncio.sleep(0.06)
    async with proxy(folder, port) as second:
        assert (await second.ask(second.client.status)).held is None
        assert await second.post("m") == (200, "ok m")


async def test_a_state_file_that_cannot_be_read_is_put_aside_and_the_door_opens(tmp_path: Path) -> None:
    folder = tmp_path / "hold"
    folder.mkdir()
    (folder / "state.json").write_bytes(b'{"hold": "\xff')
    async with proxy(folder, free_port()) as front:
        assert (await front.ask(front.client.status)).backend is None
    assert (folder / "state.unreadable").exists()


async def test_a_steady_client_sees_no_refusal_through_hold_restart_and_release(front: Front, agent: Agent) -> None:
    statuses: list[int] = []
    over = asyncio.Event()

    async def steadily() -> None:
        while not over.is_set():
            statuses.append((await front.post("m"))[0])

    clients = [asyncio.ensure_future(steadily()) for _ in range(4)]
    try:
        for turn in range(3):
            before = len(statuses)
            await front.hold(key=f"k{turn}")
            await agent.stop()
            agent.port, agent.boot = free_port(), f"boot-{turn}"
            await agent.start()
            await front.name(agent)
            await front.ask(front.client.release, f"k{turn}")
            async with asyncio.timeout(5):
                while len(statuses) < before + 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
    finally:
        over.set()
        await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert say_ok is agent.answer
