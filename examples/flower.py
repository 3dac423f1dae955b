"""One hidden layer against none (lecture: "One hidden layer Neural Network").

Logistic regression can only cut the plane along a straight line, so on the flower it is about as
good as guessing. Four tanh units bend the boundary around the petals.
"""

import argparse
from typing import Any

import numpy as np

import nnx
from nnx import datasets
from nnx.errors import MissingDependencyError


def main(device: str = "auto", seed: int = 0, plot: str | None = None) -> dict[str, float]:
    """Train both on the flower; with ``plot``, save their decision boundaries to that file."""
    figure = None if plot is None else new_figure()  # refused before the training, not after
    data = datasets.flower(seed=seed)
    logistic = nnx.LogisticRegression(2, device=device, seed=seed)
    network = nnx.MLP([2, 4, 1], "tanh", "sigmoid", device=device, seed=seed)

    print(f"The flower: m = {data.m} points in two classes; accuracy on the points learnt from")
    numbers = {}
    for name, net in (("logistic", logistic), ("network", network)):
        descent = nnx.GradientDescent(1.2)
        net.fit(data.X, data.Y, epochs=5000, batch_size="all", optimizer=descent)
        numbers[name] = net.score(data.X, data.Y)
    print(f"  logistic regression      {numbers['logistic']:.1%}")
    print(f"  network of 4 tanh units  {numbers['network']:.1%}")
    if figure is not None:
        draw_boundaries(figure, data, {"logistic regression": logistic, "4 tanh units": network})
        figure.savefig(plot)
        print(f"Decision boundaries saved to {plot}")
    return numbers


def new_figure() -> Any:
    """Return an empty figure, or say what to install for one."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib", "plot", "--plot") from None
    return Figure(figsize=(10, 5), layout="constrained")


def draw_boundaries(figure: Any, data: datasets.Dataset, nets: dict[str, nnx.Network]) -> None:
    """Draw where each network says 0 and where 1, with the points on top."""
    line = np.linspace(data.X.min() - 0.5, data.X.max() + 0.5, 300)
    x_1, x_2 = np.meshgrid(line, line)
    grid = np.stack([x_1.ravel(), x_2.ravel()])
    for axes, (title, net) in zip(figure.subplots(1, 2), nets.items(), strict=True):
        axes.contourf(x_1, x_2, net.predict(grid).reshape(x_1.shape), cmap="Spectral", alpha=0.5)
        axes.scatter(*data.X, c=data.Y, cmap="Spectral", s=12, edgecolors="k", linewidths=0.3)
        score = net.score(data.X, data.Y)
        axes.set(title=f"{title}: {score:.1%}", xlabel="x_1", ylabel="x_2")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", metavar="PATH", help="save the decision boundaries as a figure")
    main(plot=parser.parse_args().plot)
