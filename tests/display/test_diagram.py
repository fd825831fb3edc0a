"""One spec, every form of it; which form is shown depends on where the process runs."""

import json
import subprocess
import sys

import pytest

from modularml.base.errors import InvalidValueError
from modularml.display.diagram import Diagram
from modularml.display.drawing import shrinking


def test_bundle_holds_every_form_of_the_same_diagram(spec, expected_mermaid):
    diagram = Diagram(spec)
    assert diagram._repr_mimebundle_() == {
        "text/plain": f"```mermaid\n{expected_mermaid}\n```",
        "text/vnd.mermaid": expected_mermaid,
        "image/svg+xml": shrinking(diagram.svg),
    }


def test_outside_ipython_the_fenced_text_is_printed(spec, expected_mermaid, capsys):
    assert Diagram(spec).show() is None
    assert capsys.readouterr().out == f"```mermaid\n{expected_mermaid}\n```\n"


def test_ipython_gets_the_whole_bundle():
    code = """
import json
from IPython.core.interactiveshell import InteractiveShell
from modularml.display.diagram import Diagram
from modularml.display.drawing import shrinking
from modularml.display.spec import GraphSpec
shell = InteractiveShell.instance()
shell.display_pub.publish = lambda data, *args, **kwargs: print(json.dumps(data))
Diagram(GraphSpec(title="empty", nodes=(), edges=())).show()
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    data = json.loads(shown)
    assert set(data) == {"text/plain", "text/vnd.mermaid", "image/svg+xml"}
    assert data["text/plain"] == "```mermaid\nflowchart LR\n\n```"


def test_saving(spec, expected_mermaid, tmp_path):
    diagram = Diagram(spec)
    assert diagram.save(tmp_path / "a.mmd").read_text(encoding="utf-8") == f"{expected_mermaid}\n"
    assert diagram.save(str(tmp_path / "a.SVG")).read_text(encoding="utf-8") == f"{diagram.svg}\n"
    with pytest.raises(InvalidValueError, match=r"'\.mmd' or '\.svg'.*a\.png"):
        diagram.save(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_repr_is_one_short_line(spec):
    assert repr(Diagram(spec)) == f"Diagram({spec.title!r}, nodes={len(spec.nodes)}, edges={len(spec.edges)})"
