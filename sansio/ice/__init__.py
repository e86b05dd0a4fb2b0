"""Interactive Connectivity Establishment (RFC 8445) with the STUN codec that it runs on (RFC 8489)."""
