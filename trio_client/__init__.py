"""A LiveKit client for Trio."""
