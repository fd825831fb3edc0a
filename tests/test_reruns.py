"""A notebook in a real kernel, driven as JupyterLab does: out of order, again, edited, interrupted."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import BlockingKernelClient, KernelManager
from nbclient import NotebookClient

from tests.core.test_cells import NOTEBOOK

STATE = """
import json
print(json.dumps({
    "nodes": list(exp.ctx.nodes),
    "plan": [entry.label for entry in exp.execution_plan],
    "runs": [run.status for run in exp.history],
    "stale": exp.status().stale,
    "batch_size": exp.execution_plan["train"].input_sources[0].sampler.batch_size,
    "epochs": exp.epochs_done.get("train"),
}))
"""


class Lab:
    """The front end's side: cells with ids, and what comes back of them."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.cells = dict(NOTEBOOK)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def send(self, name: str) -> str:
        # A kernel that stops on an error drops what comes right behind it, which is a run of its own here.
        content = {"code": self.cells.get(name, STATE), "silent": False, "store_history": True}
        content |= {"user_expressions": {}, "allow_stdin": False, "stop_on_error": False}
        message = self.client.session.msg("execute_request", content, metadata={"cellId": f"id-{name}"})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def reply(self, message_id: str) -> dict[str, Any]:
        while True:
            reply = self.client.get_shell_msg(timeout=180)
            if reply["parent_header"].get("msg_id") == message_id:
                return dict(reply["content"])

    def run(self, *names: str) -> None:
        for name in names or tuple(self.cells):
            reply = self.reply(self.send(name))
            assert reply["status"] == "ok", reply

    def state(self) -> Any:
        sent = self.send("state")
        text = ""
        while True:
            message = self.client.get_iopub_msg(timeout=180)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                self.reply(sent)
                return json.loads(text)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def test_after_every_step_all_is_as_a_person_expects(lab: Lab) -> None:
    expected = {
        "nodes": ["Sensor", "MLP"],
        "plan": ["train", "eval"],
        "runs": ["completed"],
        "stale": [],
        "batch_size": 8,
        "epochs": 2,
    }
    lab.run()
    assert lab.state() == expected

    lab.run()  # all of it again: one of each, new weights, and the history goes on
    expected["runs"] = ["completed"] * 2
    assert lab.state() == expected

    lab.cells["sampler"] = lab.cells["sampler"].replace("batch_size=8", "batch_size=16")
    lab.run("sampler")  # edited, and nothing below it run again
    assert lab.state() == expected | {"batch_size": 16, "stale": ["train", "eval"]}
    lab.run("run")
    expected |= {"runs": ["completed"] * 3, "batch_size": 16, "epochs": 4}
    assert lab.state() == expected

    lab.run("data", "experiment")  # out of order: the same data, and the experiment of the same name
    assert lab.state() == expected

    lab.cells["other"] = "other_fs = FeatureSet.from_dict('Sensor', {'x': np.zeros((4, 3))}, 'x')"
    reply = lab.reply(lab.send("other"))
    assert (reply["status"], reply["ename"]) == ("error", "DuplicateLabelError")
    assert "in the cell [" in reply["evalue"]
    assert "rng = np.random.default_rng(0)" in reply["evalue"]
    assert lab.state() == expected

    lab.cells["phase"] = lab.cells["phase"].replace("n_epochs=2", "n_epochs=1000000")
    lab.run("phase")
    sent = lab.send("run")
    time.sleep(3)
    lab.manager.interrupt_kernel()
    assert lab.reply(sent)["status"] == "ok"
    assert lab.state()["runs"] == [*expected["runs"], "stopped"]

    lab.cells["phase"] = lab.cells["phase"].replace("n_epochs=1000000", "n_epochs=1")
    lab.cells["run"] = "exp.run(fresh=True)"
    lab.run("phase", "run")
    expected |= {"runs": [*expected["runs"], "stopped", "completed"], "epochs": 1}
    assert lab.state() == expected


def test_one_notebook_says_the_same_in_a_kernel_under_nbval_and_as_a_script(tmp_path: Path) -> None:
    again = [text for name, text in NOTEBOOK.items() if name not in ("experiment", "run")]
    policy = "exp.ctx.set_registration_policy('overwrite')"  # as in a script there are no cells to run again
    texts = [*NOTEBOOK.values(), STATE, policy, *again, STATE]
    texts = [text.replace("exp.run()", "results = exp.run()") for text in texts]
    texts = [text.replace("\ngraph.build()", "\ngraph = graph.build()") for text in texts]
    texts = [text.replace("\nexp.execution_plan.add", "\n_ = exp.execution_plan.add") for text in texts]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in texts])
    path = tmp_path / "notebook.ipynb"
    NotebookClient(notebook, timeout=180, kernel_name="python3").execute()
    nbformat.write(notebook, path)
    printed = [
        json.loads(output.text)
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    ]
    whole = {"nodes": ["Sensor", "MLP"], "plan": ["train", "eval"], "runs": ["completed"], "batch_size": 8}
    assert printed == [whole | {"stale": stale, "epochs": 2} for stale in ([], ["train", "eval"])]

    sanitize = Path(__file__).parents[1] / "notebooks" / "nbval-sanitize.cfg"
    flags = [
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        str(sanitize),
        "-p",
        "no:cacheprovider",
    ]
    call(sys.executable, "-m", "pytest", *flags, path.name, cwd=tmp_path)

    call(sys.executable, "-m", "nbconvert", "--to", "script", path.name, cwd=tmp_path)
    said = call(sys.executable, "notebook.py", cwd=tmp_path)
    assert [json.loads(line) for line in said.splitlines() if line.startswith("{")] == printed


def call(*command: str, cwd: Path) -> str:
    """Run a command with this package before all others, and return what it printed."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
