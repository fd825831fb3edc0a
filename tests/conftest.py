"""What holds for every test: one thread, and no deadline on a shared machine."""

import os

from hypothesis import settings

# Small arrays are slower on several threads, and notebooks' kernels inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("modularml", deadline=None)
settings.load_profile("modularml")
