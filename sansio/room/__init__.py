"""A participant's session in a room: the engine that drivers embed, and the state that users see."""
