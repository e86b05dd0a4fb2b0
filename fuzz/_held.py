"""How much a machine holds, each object counted once however many names it has."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from sansio.testing.conformance import attributes

SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, Enum, int, float, complex, bool)


def held(machine: Any) -> int:
    """Bytes, characters and items of all that ``machine`` leads to."""
    total, seen, waiting = 0, {id(None)}, [machine]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, SHARED):
            continue
        seen.add(id(value))
        if isinstance(value, str | bytes | bytearray | memoryview):
            total += len(value)
        elif isinstance(value, types.MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, Mapping):
            total += len(value)
            waiting += [part for pair in value.items() for part in pair]
        elif isinstance(value, Sequence | deque | set | frozenset):
            total += len(value)
            waiting += value
        elif hasattr(value, "ByteSize"):
            total += value.ByteSize()
        else:
            names = attributes(value)
            total += len(names)
            waiting += [getattr(value, name) for name in names]
    return total
