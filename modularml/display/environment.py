"""Where this process shows its output: a notebook, an IPython terminal or neither.

It knows nothing of what is shown, and never imports IPython itself.
"""

from __future__ import annotations

import sys
from typing import Any


def running_shell() -> Any:
    """Return the running IPython shell; where IPython was never loaded there is none."""
    ipython = sys.modules.get("IPython")
    get_ipython = getattr(ipython, "get_ipython", None)
    return get_ipython() if get_ipython else None


def in_ipython() -> bool:
    """Whether this process runs under IPython, in a terminal or in a notebook."""
    return running_shell() is not None


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel, whose front end draws rich output."""
    return any(cls.__name__ == "ZMQInteractiveShell" for cls in type(running_shell()).__mro__)
