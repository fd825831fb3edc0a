"""What a cross-validation costs, as a ratio to the loop that people write by hand.

Both divide the same rows into 5 folds, scale by each fold's training rows, train the same
network for the same epochs and evaluate it. CPU time, one torch thread, taken in turns.

    python benchmarks/cross_validation.py
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from modularml import CrossValidation, CVBinding, Experiment, FeatureSet, ModelGraph
from modularml.models.torch import SequentialMLP

N, N_FEATURES, N_EPOCHS, N_FOLDS, BATCH = 2000, 10, 20, 5, 32
ROUNDS = 3


def by_hand(x: np.ndarray, y: np.ndarray) -> list[float]:
    losses = []
    for train, val in KFold(N_FOLDS, shuffle=True, random_state=13).split(x):
        scaler = StandardScaler().fit(x[train])
        inputs = torch.from_numpy(scaler.transform(x).astype(np.float32))
        targets = torch.from_numpy(y.astype(np.float32)).unsqueeze(1)
        net = nn.Sequential(nn.Linear(N_FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(N_EPOCHS):
            order = torch.from_numpy(np.random.permutation(train))
            for rows in order.split(BATCH):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(net(inputs[rows]), targets[rows])
                loss.backward()
                optimizer.step()
                loss.item()
        with torch.no_grad():
            losses.append(nn.functional.mse_loss(net(inputs[val]), targets[val]).item())
    return losses


def ours(x: np.ndarray, y: np.ndarray) -> Callable[[], list[float]]:
    exp = Experiment("folds")
    data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
    data.split_random({"train": 0.8, "val": 0.2})
    data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
    ModelGraph.chain(data.reference(rep="transformed"), [SequentialMLP(hidden_dim=32)], "adam")
    plan = exp.execution_plan
    plan.add_train_phase("train", split="train", losses="mse", n_epochs=N_EPOCHS, batch_size=BATCH)
    plan.add_eval_phase("eval", split="val", losses="mse")
    cv = CrossValidation(bindings=CVBinding(data, ["train", "val"]), n_folds=N_FOLDS)
    return lambda: exp.run_group(cv).scores()["eval/mse"].tolist()


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, N_FEATURES))
    y = x @ rng.standard_normal(N_FEATURES)
    loops = {"by hand": lambda: by_hand(x, y), "ours": ours(x, y)}
    seconds = {name: float("inf") for name in loops}
    means = {}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            start = time.process_time()
            means[name] = np.mean(loop())
            seconds[name] = min(seconds[name], time.process_time() - start)
    for name, taken in seconds.items():
        ratio = taken / seconds["by hand"]
        print(f"{name:<8} {taken:6.2f} s  ratio {ratio:4.2f}  mean loss {means[name]:.4f}")
    print(f"wanted: at most 1.30. {N_FOLDS} folds of {N:,} x {N_FEATURES}, {N_EPOCHS} epochs")


if __name__ == "__main__":
    main()
