"""A program to be tested: greets everybody in a room, and answers "time?" with how long it has been there."""

from __future__ import annotations

import trio

import trio_client
from trio_client import DataReceived, ParticipantConnected, Reconnected


async def greet(url: str, token: str) -> None:
    """Be in the room until cancelled."""
    async with trio_client.connect(url, token) as room:
        joined = trio.current_time()

        async def tell(text: str, *identities: str) -> None:
            await room.local_participant.publish_data(text.encode(), destination_identities=identities)

        with room.events(ParticipantConnected, DataReceived, Reconnected) as events:
            for identity in list(room.remote_participants):
                await tell(f"hello {identity}", identity)
            async for event in events:
                match event:
                    case ParticipantConnected(participant=p):
                        await tell(f"hello {p.identity}", p.identity)
                    case DataReceived(payload=b"time?", participant=p) if p is not None:
                        await tell(f"{trio.current_time() - joined:.0f} s", p.identity)
                    case Reconnected():
                        await tell("here again")
