"""Payload formats: how frames of a codec are cut into RTP payloads and put together again."""
