"""DTLS 1.2 with SRTP keys (RFC 6347, RFC 5764): a machine over an exchangeable engine."""

from .endpoint import DtlsEndpoint, DtlsOptions
from .engine import (
    DtlsClosed,
    DtlsConnected,
    DtlsFailed,
    DtlsFailure,
    DtlsOutput,
    Engine,
    EngineFactory,
    Role,
    default_engine,
    preload,
)
from .identity import DtlsIdentity, parse_fingerprint

__all__ = [
    "DtlsClosed",
    "DtlsConnected",
    "DtlsEndpoint",
    "DtlsFailed",
    "DtlsFailure",
    "DtlsIdentity",
    "DtlsOptions",
    "DtlsOutput",
    "Engine",
    "EngineFactory",
    "Role",
    "default_engine",
    "parse_fingerprint",
    "preload",
]
