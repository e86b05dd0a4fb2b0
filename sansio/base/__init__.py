"""Ground floor: the machine contract and the values that every protocol shares."""
