"""The core has no clock, randomness, socket, log or thread of its own, and imports only downward.

A rule over the source, not over ``sys.modules``: some libraries pull in asyncio and sockets by being imported, even
when only their codec is used. What a rule cannot see is up to review; what it can see is checked here, file by file.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "sansio"

# ------------------------------------------------------------------ the rules

FORBIDDEN_MODULES = {
    *("socket", "ssl", "select", "selectors", "asyncio", "trio", "anyio", "threading", "_thread", "multiprocessing"),
    *("concurrent", "subprocess", "signal", "logging", "warnings", "time", "sched", "secrets", "random", "os", "sys"),
    *("pathlib", "shutil", "tempfile", "uuid", "http", "ssl", "atexit", "gc", "contextvars", "platform", "locale"),
}

PURE_MODULES = {
    *("__future__", "abc", "array", "base64", "binascii", "bisect", "codecs", "collections", "copy", "dataclasses"),
    *("functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string"),
    *("struct", "textwrap", "types", "typing", "unicodedata", "urllib", "zlib", "attrs", "traceback", "inspect"),
    *("contextlib", "datetime", "enum"),
}
"""What any floor may import: pure parts of the standard library, and attrs."""

FORBIDDEN_ATTRIBUTES = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.urandom", "uuid.uuid4", "uuid4"),
    *("urllib.request", "json.load", "json.dump"),
}

FORBIDDEN_BUILTINS = {"print", "open", "input", "eval", "exec", "hash", "id", "globals", "breakpoint", "__import__"}

FLOORS: dict[str, tuple[set[str], set[str]]] = {
    # package: (what it may import of sansio, which libraries beyond PURE_MODULES)
    "base": (set(), set()),
    "types": ({"base"}, set()),
    "proto": ({"base"}, {"livekit", "google"}),
    "ice": ({"base", "types"}, set()),
    "dtls": ({"base", "types"}, {"OpenSSL", "cryptography"}),
    "srtp": ({"base", "types"}, {"pylibsrtp"}),
    "sctp": ({"base", "types"}, {"google_crc32c"}),
    "rtp": ({"base", "types"}, set()),
    "sdp": ({"base", "types"}, set()),
    "signal": ({"base", "types", "proto"}, set()),
    "lifecycle": ({"base", "types"}, set()),
    "events": ({"base", "types", "proto"}, set()),
}
"""Floors 0 and 1: neighbours never import each other."""

FLOOR_1 = set(FLOORS)
FLOORS["peer"] = (FLOOR_1, set())
FLOORS["room"] = (FLOOR_1 | {"peer"}, set())
FLOORS["sfu"] = (FLOOR_1 | {"peer"}, set())
FLOORS["testing"] = (FLOOR_1 | {"peer", "room", "sfu"}, set())
FLOORS["__init__"] = (FLOOR_1 | {"peer", "room"}, set())

MUTABLE_CALLS = {
    *("list", "dict", "set", "deque", "defaultdict", "OrderedDict", "Counter", "bytearray", "ChainMap", "array"),
    *("count", "cycle", "iter", "WeakKeyDictionary", "WeakValueDictionary", "Entropy", "ContextVar"),
}
MUTATORS = {
    *("append", "appendleft", "extend", "insert", "pop", "popleft", "popitem", "remove", "discard", "clear", "add"),
    *("update", "setdefault", "sort", "reverse", "rotate", "__setitem__"),
}
CACHES = {"cache", "lru_cache", "cached_property"}
ORDER_FREE = {"sorted", "len", "min", "max", "sum", "any", "all", "set", "frozenset"}
"""Calls whose result does not depend on the order in which a set hands out its items."""

ALLOWED: dict[str, dict[str, str]] = {
    "sansio/proto.py": {
        "use of globals": "the protobuf modules are imported on first use, and kept where a second use finds them",
    },
    "sansio/__init__.py": {
        "import of importlib": "the names for embedders are imported on first use, and only this package is searched",
    },
    "sansio/events.py": {
        "typing-only import of sansio.room": "events carry the room's live objects, and say so to type checkers only",
    },
}
"""Exceptions: file, start of the complaint, and the reason."""


# ------------------------------------------------------------------ the checker


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression, or an empty string when it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def is_constant_name(name: str) -> bool:
    return name.upper() == name or (name.startswith("__") and name.endswith("__"))


class Checker(ast.NodeVisitor):
    """Complaints about one file of the core, whose place is ``parts`` below ``sansio``."""

    def __init__(self, parts: tuple[str, ...], source: str) -> None:
        self.package = parts[0].removesuffix(".py")
        self.depth = len(parts)  # relative imports of more levels than this leave the core
        self.parts = parts
        self.typing = False  # inside ``if TYPE_CHECKING``
        self.complaints: list[str] = []
        self.tree = ast.parse(source)
        self.set_attributes = {name for name in self._names_of_sets(self.tree) if "." in name}
        self.set_names = self._names_of_sets(self.tree)  # of the function that is being visited
        self.bound = self._names_bound()
        self.constants: set[str] = set()

    def run(self) -> list[str]:
        self._module_state(self.tree.body)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                self._module_state(node.body)
        self.visit(self.tree)
        return self.complaints

    def complain(self, node: ast.AST, what: str) -> None:
        self.complaints.append(f"{what} (line {getattr(node, 'lineno', 0)})")

    # ---- imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._library(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0:
            for alias in node.names:
                self._library(node, f"{node.module}.{alias.name}")
            return
        if node.level > self.depth:
            self.complain(node, "import from outside the core")
            return
        stem = self.parts[: self.depth - node.level]
        path = (*stem, *(node.module.split(".") if node.module else ()))
        for top in {path[0]} if path else sorted(alias.name for alias in node.names):
            self._sibling(node, top)

    def _library(self, node: ast.AST, name: str) -> None:
        top = name.partition(".")[0]
        if top in ("sansio", "trio_client"):
            self.complain(node, f"absolute import of {top}")
        elif top in FORBIDDEN_MODULES:
            self.complain(node, f"import of {top}")
        elif top not in PURE_MODULES and top not in FLOORS.get(self.package, (set(), set()))[1]:
            self.complain(node, f"import of {top}, which {self.package} has no need to know")
        elif any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN_ATTRIBUTES):
            self.complain(node, f"import of {name}")

    def _sibling(self, node: ast.AST, top: str) -> None:
        if top in (self.package, "PROJECT"):  # PROJECT: a name of the package sansio itself
            return
        if self.package not in FLOORS:
            self.complain(node, f"{self.package} stands on no floor")
        elif top not in FLOORS[self.package][0]:
            self.complain(node, f"{'typing-only ' * self.typing}import of sansio.{top} from {self.package}")

    def visit_If(self, node: ast.If) -> None:
        before = self.typing
        self.typing = before or dotted(node.test) == "TYPE_CHECKING"
        self.generic_visit(node)
        self.typing = before

    # ---- attributes and calls

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = dotted(node)
        if any(name == bad or name.endswith(f".{bad}") for bad in FORBIDDEN_ATTRIBUTES):
            self.complain(node, f"use of {name}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted(node.func)
        if name in ("list", "tuple", "next", "iter", "enumerate", "dict", "deque", "zip", "map", "filter", "reversed"):
            for argument in node.args:
                self._ordered_use(argument)
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in ("join", "extend"):
                for argument in node.args:
                    self._ordered_use(argument)
            if node.func.attr == "pop" and not node.args and self._is_set(node.func.value):
                self.complain(node, "order of a set")
            if node.func.attr in MUTATORS and dotted(node.func.value) in self.constants:
                self.complain(node, f"module state: {dotted(node.func.value)}.{node.func.attr}()")
        order_free = name in ORDER_FREE
        for argument in node.args:
            if order_free and isinstance(argument, ast.GeneratorExp | ast.ListComp):
                self._comprehension(argument, ordered=False)
            else:
                self.visit(argument)
        for keyword in node.keywords:
            self.visit(keyword)
        self.visit(node.func)

    def visit_Name(self, node: ast.Name) -> None:
        # also a builtin handed on as a function, as in key=id
        if node.id in FORBIDDEN_BUILTINS - self.bound:
            self.complain(node, f"use of {node.id}")

    def _names_bound(self) -> set[str]:
        """Names that this file gives a meaning of its own: ``id`` as a parameter is not the builtin."""
        names = {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)}
        return names | {
            node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }

    # ---- state of the module

    def _module_state(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                self._module_state(node.body)
                self._module_state(node.orelse)
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                targets, value = [node.target], node.value
            else:
                continue
            if not self._is_mutable(value):
                continue
            for target in targets:
                name = dotted(target)
                if is_constant_name(name):
                    self.constants.add(name)
                else:
                    self.complain(node, f"module state: {name or 'an assignment'}")

    def _is_mutable(self, value: ast.expr) -> bool:
        if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return True
        return isinstance(value, ast.Call) and dotted(value.func).split(".")[-1] in MUTABLE_CALLS

    def visit_Global(self, node: ast.Global) -> None:
        self.complain(node, f"module state: global {', '.join(node.names)}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if dotted(called).split(".")[-1] in CACHES:
                self.complain(node, f"module state: a cache on {node.name}")
        around, self.set_names = self.set_names, self._names_of_sets(node)
        self.generic_visit(node)
        self.set_names = around

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.complain(node, "a coroutine")

    def _store(self, target: ast.expr) -> None:
        if isinstance(target, ast.Subscript) and dotted(target.value) in self.constants:
            self.complain(target, f"module state: {dotted(target.value)}[...] is written")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._store(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._store(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._store(target)

    # ---- order of sets

    def _names_of_sets(self, within: ast.AST) -> set[str]:
        """Names and attributes that are annotated or assigned as sets somewhere in a function or file."""
        names = set()
        for node in ast.walk(within):
            if isinstance(node, ast.AnnAssign):
                if self._annotates_set(node.annotation):
                    names.add(dotted(node.target))
            elif isinstance(node, ast.arg) and node.annotation is not None:
                if self._annotates_set(node.annotation):
                    names.add(node.arg)
            elif isinstance(node, ast.Assign) and self._makes_set(node.value):
                names.update(dotted(target) for target in node.targets)
        return names - {""}

    def _annotates_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BinOp):
            return self._annotates_set(node.left) or self._annotates_set(node.right)
        if isinstance(node, ast.Subscript):
            return self._annotates_set(node.value)
        return dotted(node).split(".")[-1] in ("set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet")

    def _makes_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self._makes_set(node.left) or self._makes_set(node.right)
        return isinstance(node, ast.Call) and dotted(node.func) in ("set", "frozenset")

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self._is_set(node.left) or self._is_set(node.right)
        return self._makes_set(node) or dotted(node) in self.set_names | self.set_attributes

    def _ordered_use(self, node: ast.expr) -> None:
        if self._is_set(node):
            self.complain(node, "order of a set")

    def visit_For(self, node: ast.For) -> None:
        self._ordered_use(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load):
            self._ordered_use(node.value)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        for element in node.elts:  # {*a, *b} only unites
            self.visit(element.value if isinstance(element, ast.Starred) else element)

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp | ast.DictComp, ordered: bool) -> None:
        if ordered:
            for generator in node.generators:
                self._ordered_use(generator.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node, ordered=True)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node, ordered=True)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node, ordered=True)


def complaints_about(parts: tuple[str, ...], source: str) -> list[str]:
    return Checker(parts, source).run()


# ------------------------------------------------------------------ the core obeys


FILES = sorted(CORE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_core_file_is_pure(path):
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), {})
    found = complaints_about(path.relative_to(CORE).parts, path.read_text(encoding="utf-8"))
    assert [line for line in found if not line.startswith(tuple(allowed))] == []


def test_every_exception_names_a_file_and_a_reason():
    for name, reasons in ALLOWED.items():
        assert (ROOT / name).suffix == ".py"
        assert all(len(reason) > 20 for reason in reasons.values())


# ------------------------------------------------------------------ the checker sees


def check(source: str, place: str = "ice/agent.py") -> list[str]:
    return [line.split(" (line")[0] for line in complaints_about(tuple(place.split("/")), textwrap.dedent(source))]


@pytest.mark.parametrize(
    ("place", "source", "complaint"),
    [
        ("ice/agent.py", "import socket", "import of socket"),
        ("ice/agent.py", "import os.path", "import of os"),
        ("ice/agent.py", "from time import monotonic", "import of time"),
        ("ice/agent.py", "def f():\n    import random", "import of random"),
        ("ice/agent.py", "from datetime import datetime\ndatetime.now()", "use of datetime.now"),
        ("ice/agent.py", "import datetime\ndatetime.datetime.now()", "use of datetime.datetime.now"),
        ("ice/agent.py", "from urllib import request", "import of urllib.request"),
        ("ice/agent.py", "import numpy", "import of numpy, which ice has no need to know"),
        ("sctp/chunks.py", "import aioice", "import of aioice, which sctp has no need to know"),
        ("ice/agent.py", "from sansio.base import limits", "absolute import of sansio"),
        ("ice/agent.py", "from ..dtls import endpoint", "import of sansio.dtls from ice"),
        ("ice/agent.py", "from .. import sctp", "import of sansio.sctp from ice"),
        ("ice/agent.py", "from ... import trio_client", "import from outside the core"),
        ("base/timers.py", "from ..types import Kind", "import of sansio.types from base"),
        ("room/engine.py", "from ..sfu.server import Server", "import of sansio.sfu from room"),
        ("events.py", "if TYPE_CHECKING:\n    from .room import x", "typing-only import of sansio.room from events"),
        ("odd/thing.py", "from ..base import limits", "odd stands on no floor"),
        ("ice/agent.py", "def f(x):\n    print(x)", "use of print"),
        ("ice/agent.py", "open('x')", "use of open"),
        ("ice/agent.py", "sorted(x, key=id)", "use of id"),
        ("ice/agent.py", "pending = []", "module state: pending"),
        ("ice/agent.py", "pending: dict[int, int] = {}", "module state: pending"),
        ("ice/agent.py", "ids = itertools.count()", "module state: ids"),
        ("ice/agent.py", "if True:\n    seen = set()", "module state: seen"),
        ("ice/agent.py", "class A:\n    waiting = []", "module state: waiting"),
        ("ice/agent.py", "T = {}\ndef f():\n    T[1] = 2", "module state: T[...] is written"),
        ("ice/agent.py", "T = {}\ndef f():\n    del T[1]", "module state: T[...] is written"),
        ("ice/agent.py", "T = {}\ndef f():\n    T[1] += 2", "module state: T[...] is written"),
        ("ice/agent.py", "T = []\ndef f():\n    T.append(2)", "module state: T.append()"),
        ("ice/agent.py", "N = 0\ndef f():\n    global N\n    N += 1", "module state: global N"),
        ("ice/agent.py", "@functools.lru_cache(10)\ndef f(): ...", "module state: a cache on f"),
        ("ice/agent.py", "async def f(): ...", "a coroutine"),
        ("ice/agent.py", "for x in {1, 2}: ...", "order of a set"),
        ("ice/agent.py", "for x in set(y): ...", "order of a set"),
        ("ice/agent.py", "def f(a: set[int]):\n    return [x for x in a]", "order of a set"),
        ("ice/agent.py", "def f(a: frozenset[int] | None):\n    return list(a)", "order of a set"),
        ("ice/agent.py", "class A:\n    def f(self):\n        self.a = set()\n        self.a.pop()", "order of a set"),
        (
            "ice/agent.py",
            "class A:\n    def f(self):\n        self.a: set[int] = x\n        g(*self.a)",
            "order of a set",
        ),
        ("ice/agent.py", "def f(a: set[str]):\n    return ' '.join(a)", "order of a set"),
        ("ice/agent.py", "def f(a: set[str], b):\n    return {x: 1 for x in a - b}", "order of a set"),
    ],
)
def test_the_checker_sees(place, source, complaint):
    assert complaint in check(source, place)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("dtls/identity.py", "from cryptography import x509"),
        ("signal/urls.py", "from .. import PROJECT"),
        ("proto.py", "from livekit.protocol import rtc"),
        (
            "ice/agent.py",
            "from . import stun\nfrom .stun import decode\nfrom ..base.contract import INF\nfrom .. import base",
        ),
        ("peer/transport.py", "from ..ice.agent import IceAgent\nfrom ..sctp.association import SctpAssociation"),
        ("ice/agent.py", "from urllib.parse import urlsplit\nfrom collections import deque\nimport struct"),
        ("ice/agent.py", "NAMES = {1: 'a'}\nNAMES[1]\nNAMES.get(2)\n__all__ = ['x']\n_TABLE = [1, 2]"),
        (
            "ice/agent.py",
            "class A:\n    __slots__ = ['x']\n    def f(self):\n        self.x = []\n        self.x.append(1)",
        ),
        ("ice/agent.py", "def f(a: set[int]):\n    return sorted(a), len(a), 1 in a, max(a), any(x > 1 for x in a)"),
        ("ice/agent.py", "def f(a: set[int], b: set[int]):\n    return {x for x in a} | {*a, *b} | set(a)"),
        ("ice/agent.py", "def f():\n    a = {1}\n    return len(a)\ndef g(a):\n    return list(a)"),
        ("ice/agent.py", "def f(d: dict[int, int]):\n    return [x for x in d], list(d)"),
        ("ice/agent.py", "def f(self, id):\n    self.id = id"),
    ],
)
def test_the_checker_lets_pass(place, source):
    assert check(source, place) == []
