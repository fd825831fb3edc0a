"""The command ``modularml``: files shown, compared, checked and exported in a terminal."""
