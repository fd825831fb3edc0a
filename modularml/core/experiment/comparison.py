"""Where what two runs consumed differs, in words and as a table.

It knows trees of fingerprints by phase; it asks no phase what it consumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modularml.base.trees import Difference, differences
from modularml.core.experiment.staleness import FAULT, OWN, PARTS, Tree, in_words, resolve
from modularml.display.card import Html, Shown, card, table


@dataclass(frozen=True, repr=False)
class Diff(Shown):
    """The differences of what two runs consumed, or a run and a run now.

    Attributes:
        before: What the first is called.
        after: What the second is called.
        words: The differences, a sentence each.
        rows: Phase and difference, each value that is another one.
    """

    before: str
    after: str
    words: tuple[str, ...]
    rows: tuple[tuple[str, Difference], ...]

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        if not self.words:
            return f"{self.before} -> {self.after}: no differences"
        return "\n".join([f"{self.before} -> {self.after}:", *(f"  {words}" for words in self.words)])

    def _card(self) -> Html:
        rows = [(phase, ".".join(d.path), d.before or "–", d.after or "–") for phase, d in self.rows]
        told = (
            table(["phase", "what", self.before, self.after], rows) if rows else Html("<p>no differences</p>")
        )
        return card("Diff", None, told, note=f"{self.before} → {self.after}")


def compare(before: Mapping[str, Tree], after: Mapping[str, Tree], names: tuple[str, str]) -> Diff:
    """Compare the fingerprints of the phases of two runs.

    Args:
        before: Phase -> what it consumed.
        after: The same of the second run.
        names: What the two are called.
    """
    before, after = _without_folds(before), _without_folds(after)
    words: list[str] = []
    rows: list[tuple[str, Difference]] = []
    unmet = dict.fromkeys(after)
    for phase, tree in before.items():
        other = resolve(phase, after)
        if other is None:
            words.append(f"{phase!r} is in {names[0]} only")
            continue
        unmet.pop(other, None)
        if FAULT in after[other]:
            words.append(f"{other!r} cannot run {names[1]}: {after[other][FAULT]}")
            continue
        words += in_words(tree, after[other], other)
        rows += [(other, found) for found in differences(*(_own(t) for t in (tree, after[other])))]
    words += [f"{phase!r} is in {names[1]} only" for phase in unmet]
    return Diff(*names, tuple(dict.fromkeys(words)), tuple(rows))


def _without_folds(trees: Mapping[str, Tree]) -> dict[str, Tree]:
    """Leave out the phases of the folds of what is told as a whole."""
    wholes = tuple(f"{name}/" for name, tree in trees.items() if PARTS in tree)
    return {name: tree for name, tree in trees.items() if not name.startswith(wholes)}


def _own(tree: Tree) -> dict[str, Any]:
    return {key: tree.get(key) for key in (*OWN, PARTS)}
