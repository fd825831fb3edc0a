"""ModularML: see, stop, re-run and compare machine-learning experiments in a notebook."""
