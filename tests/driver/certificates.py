"""An authority of the tests' own, and the two ends of its TLS."""

from __future__ import annotations

import ssl
from typing import Any

import trustme

CA = trustme.CA()


def server_context(*names: str, **options: Any) -> ssl.SSLContext:
    """For a server of these names. ``options`` are of trustme's ``issue_cert``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names, **options).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """For a client that trusts the authority."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context
