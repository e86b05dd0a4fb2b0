"""A small LiveKit-compatible server side, for development and tests only: rooms, signalling, data relay."""
