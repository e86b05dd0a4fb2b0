"""How a session lives on when its network does not: states, triggers, and when to try again."""
