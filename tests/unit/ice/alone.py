"""One agent, played against by hand."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceOptions

A, B = ("192.0.2.1", 5000), ("192.0.2.2", 6000)
TID = b"transaction!"


def uses(message: stun.Message) -> bool:
    return stun.USE_CANDIDATE in message.attributes


class Alone:
    """One agent, played against by hand with the peer's credentials "them" and "secret"."""

    def __init__(self, candidate, *, controlling=True, options=None, known=True, local=True, **more):
        self.agent = IceAgent(Entropy(b"alone"), controlling=controlling, options=options or IceOptions())
        self.now = 0.0
        if local:
            self.agent.add_local(candidate(*A), 1, 0.0)
        if known:
            self.agent.set_remote_credentials("them", "secret", 0.0, **more)

    def advance(self, now=None):
        self.now = self.now if now is None else now
        return self.agent.advance(self.now)

    def sent(self) -> list[tuple[stun.Message, tuple[str, int], int]]:
        found = [(stun.decode(sent.data), sent.addr, sent.port) for sent in self.agent.transmits]
        self.agent.transmits.clear()
        return found

    def events(self):
        found = list(self.agent.outbox)
        self.agent.outbox.clear()
        return found

    def request(
        self,
        *more: tuple[int, bytes],
        src=B,
        port=1,
        role=stun.ICE_CONTROLLED,
        tie=0,
        ufrag="them",
        key=None,
        priority=True,
        username=None,
    ):
        """Have a check of the peer arrive."""
        attributes = [(stun.USERNAME, username or f"{self.agent.local_ufrag}:{ufrag}".encode())]
        if role:
            attributes.append((role, stun.u64_value(tie)))
        if priority:
            attributes.append((stun.PRIORITY, stun.u32_value(1853759231)))
        data = stun.build(
            stun.BINDING_REQUEST, TID, [*attributes, *more], stun.Key((key or self.agent.local_pwd).encode())
        )
        self.agent.handle_stun(port, data, src, self.now)

    def respond(self, message, *, src=B, port=1, mapped=A, kind=stun.BINDING_SUCCESS, key=b"secret", more=()):
        """Answer one of its checks."""
        id = message.transaction_id
        attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(mapped, id))] if mapped else []
        data = stun.build(kind, id, [*attributes, *more], stun.Key(key))
        self.agent.handle_stun(port, data, src, self.now)

    def refuse(self, message, code=400, **more):
        self.respond(
            message, mapped=None, kind=stun.BINDING_ERROR, more=((stun.ERROR_CODE, stun.error_value(code)),), **more
        )

    def connect(self, candidate):
        """Select the pair of A and B."""
        self.agent.add_remote(candidate(*B), self.now)
        self.advance()
        [(check, _, _)] = self.sent()
        self.now += 0.1
        self.respond(check)
        self.advance()
        assert self.agent.selected_addr == B
        self.sent(), self.events()
        return self
