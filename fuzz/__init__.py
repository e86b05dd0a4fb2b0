"""Fuzzing: a target is a function ``one(data)`` in ``fuzz_<name>.py``; see README.md."""
