"""What a participant sees on the development server is what it sees on the real one."""

from __future__ import annotations

from pprint import pformat

import pytest
import trio

import trio_client.devserver

from . import servers
from .ours import MODES
from .story import SCENARIOS, play


@MODES
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_both_servers_tell_the_same_story(server, room, scenario, single):
    async def both() -> None:
        with trio.fail_after(90):
            real, shown_by_real = await play(scenario, server, room, single)
            async with trio_client.devserver.serve(keys={servers.KEY: servers.SECRET}) as small:
                ours, shown_by_ours = await play(scenario, servers.Server(small.url), room, single)
        print(*real, "", *ours, sep="\n")
        assert sorted(ours) == sorted(real)
        assert pformat(shown_by_ours).splitlines() == pformat(shown_by_real).splitlines()

    trio.run(both)
