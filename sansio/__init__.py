"""A LiveKit client as a pure state machine: no socket, clock, randomness, thread or log of its own."""

PROJECT = "trio-livekit"
"""Marks this package as ours: the import name ``sansio`` is a generic one."""
