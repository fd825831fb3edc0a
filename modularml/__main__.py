"""``python -m modularml`` is the command ``modularml``, where no script of it is on the path.

It knows nothing but where the command is.
"""

import sys

from modularml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
