"""The committed bundles are no larger than what a page may be sent."""

from modularml.widgets.widget import STATIC_PATH


def test_mermaid_is_one_file_that_is_sent_once_and_the_rest_is_small() -> None:
    sizes = {path.name: path.stat().st_size for path in STATIC_PATH.iterdir()}
    assert sizes.pop("mermaid.js") <= 950_000
    assert sum(sizes.values()) <= 120_000
