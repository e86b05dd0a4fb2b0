"""Checks of the built wheel: ``contents WHEEL`` in any Python, ``imports`` in one where only the wheel is installed."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import zipfile


def contents(wheel: str) -> None:
    """The wheel lists the two packages and its own facts only, each with its type marker."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    assert packages == {"sansio", "trio_client"}, packages
    for package in packages:
        assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names), names


EXTRA = ("__main__", "testing.plugin", "trio_client.media")
"""Modules that do something, are imported by pytest, or need the extra."""


def imports() -> None:
    """Every other module of both packages can be imported with the run-time dependencies alone."""
    count = 0
    for package in ("sansio", "trio_client"):
        top = importlib.import_module(package)
        assert "site-packages" in str(top.__file__), top.__file__
        for module in pkgutil.walk_packages(top.__path__, f"{package}."):
            if not module.name.endswith(EXTRA) and not module.name.startswith(EXTRA):
                importlib.import_module(module.name)
                count += 1
    print(f"{count} modules imported")


if __name__ == "__main__":
    {"contents": contents, "imports": imports}[sys.argv[1]](*sys.argv[2:])
