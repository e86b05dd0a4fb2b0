"""A test kit in virtual time: a simulated network, ready-made pairs, and the contract as a suite of checks.

Deterministic like the rest of the core: one clock that jumps, one heap, one seed. The client imports nothing of it.
"""
