"""The signalling link: URLs and join requests, the session machine, and why a join was refused."""
