"""Packages that only some features need: imported when they are asked for.

It knows no feature: callers name theirs.
"""

from __future__ import annotations

import importlib
from typing import Any


def optional(module: str, extra: str, where: str) -> Any:
    """Return a module of an extra.

    Args:
        module: Its name.
        extra: The extra of this distribution that installs it.
        where: What needs it, for the message.

    Raises:
        ImportError: If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{where} needs {package}: pip install "modularml-jupyter[{extra}]".', name=package
        ) from error
