"""JSON as a file of ours may hold it, and nothing else that Python's parser takes.

It knows no file: bytes in, a tree out.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from modularml.base.errors import FileFormatError


def parse_json(data: bytes, where: str) -> Any:
    """Return what strict JSON says: no duplicate keys, no NaN, no endless nesting.

    Raises:
        FileFormatError: If it is anything else; `where` names file and member.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key occurs twice")
        return found

    def constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(
            data.decode("utf-8", "surrogatepass"), object_pairs_hook=pairs, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} is not valid JSON: {error}.") from error
