"""DTLS endpoints, either role, on either engine, with a partner of the other role."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.dtls import DtlsEndpoint, DtlsIdentity, default_engine
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.testing.conformance import Input, Subject, call

from .duet import duet

ENGINES = {"plain": PlainEngine, "openssl": default_engine}
IDENTITIES = {
    "plain": [plain_identity(Entropy(name)) for name in (b"a", b"b")],
    "openssl": [DtlsIdentity.generate(1.8e9, Entropy(name)) for name in (b"a", b"b")],
}


def endpoint(engine: str, role: str, entropy: Entropy) -> DtlsEndpoint:
    own = 0 if role == "client" else 1
    made = DtlsEndpoint(IDENTITIES[engine][own], entropy=entropy, engine=ENGINES[engine])
    made.set_remote_fingerprint(*IDENTITIES[engine][1 - own].fingerprint)
    return made


def seal(entropy: Entropy) -> Input:
    return Input("seal", (entropy.bytes(entropy.below(3) * 100),), timed=False)


def script(engine: str, role: str, entropy: Entropy):
    partner = endpoint(engine, "server" if role == "client" else "client", entropy.fork("partner"))
    partner.start("server" if role == "client" else "client", 1000.0)

    def give(partner, output, now):
        if isinstance(output, bytes):
            partner.handle_datagram(output, now)

    def take(partner):
        sent = list(partner.datagrams)
        partner.datagrams.clear()
        return sent

    def talk(partner, entropy, now):
        if partner.connected:
            partner.datagrams.append(partner.seal(entropy.bytes(1 + entropy.below(50))))

    return duet(
        entropy,
        partner,
        begin=[call("start", role)],
        give=give,
        take=take,
        datagram=lambda data: call("handle_datagram", data),
        operations=[
            seal,
            lambda entropy: call("start", role),
            lambda entropy: Input("set_rtt", (entropy.uniform(-0.1, 0.2),), timed=False),
        ],
        partner_acts=talk,
    )


def misuse(machine):
    yield call("start", "nobody")
    yield Input("seal", (b"",), timed=False)
    yield Input("seal", (bytes(20_000),), timed=False)
    yield Input("set_rtt", (-1.0,), timed=False)
    yield Input("set_remote_fingerprint", ("md5", "00"), timed=False)


def subject(engine: str, role: str) -> Subject:
    return Subject(
        make=lambda entropy: endpoint(engine, role, entropy),
        script=lambda entropy: script(engine, role, entropy),
        drains=("datagrams", "plaintexts", "outbox"),
        misuse=misuse,
        close=call("close"),
        closed=lambda machine: machine.advance(0.0) == float("inf") and not machine.connected,
        repeats=engine == "plain",
    )


SUBJECTS = {
    "dtls.endpoint.DtlsEndpoint": [subject(engine, role) for engine in ENGINES for role in ("client", "server")],
}
