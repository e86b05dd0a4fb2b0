"""Every limit is a positive number with a docstring that says what it bounds."""

from __future__ import annotations

import ast
import inspect

from sansio.base import limits


def test_every_limit_is_positive_and_says_what_it_bounds():
    body = ast.parse(inspect.getsource(limits)).body
    named = [
        (node.targets[0] if isinstance(node, ast.Assign) else node.target, after)
        for node, after in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    assert named
    for target, after in named:
        assert isinstance(target, ast.Name)
        assert target.id.isupper(), target.id
        assert getattr(limits, target.id) > 0, target.id
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        assert documented, f"{target.id} has no docstring"
