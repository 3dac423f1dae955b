"""One hidden layer against none (lecture: "One hidden layer Neural Network").

Logistic regression can only cut the plane along a straight line, so on the flower it is about as
good as guessing. Four tanh units bend the boundary around the petals.
"""

import argparse

import numpy as np

import nnx
from nnx import datasets


def main(
    device: str = "auto",
    seed: int = 0,
    m: int = 400,
    n_h: int = 4,
    epochs: int = 3000,
    plot: str | None = None,
) -> dict[str, float]:
    """Train both on the flower; with ``plot``, save their decision boundaries to that file."""
    X, Y, *_ = datasets.flower(m, seed=seed)

    logistic = nnx.LogisticRegression(2, device=device, seed=seed)
    logistic.fit(X, Y, epochs=epochs, batch_size="all", optimizer=nnx.GradientDescent(0.1))

    network = nnx.MLP([2, n_h, 1], hidden="tanh", output="sigmoid", device=device, seed=seed)
    network.fit(X, Y, epochs=epochs, batch_size="all", optimizer=nnx.GradientDescent(1.2))

    numbers = {"logistic": logistic.score(X, Y), "network": network.score(X, Y)}
    print(f"The flower: m = {m} points, n_x = 2, two classes; accuracy on the training set")
    print(f"  logistic regression              {numbers['logistic']:7.2%}")
    print(f"  network with {n_h} tanh units         {numbers['network']:7.2%}")
    if plot is not None:
        save_boundaries(plot, X, Y, {"logistic regression": logistic, "network": network})
        print(f"Decision boundaries saved to {plot}")
    return numbers


def save_boundaries(
    path: str, X: np.ndarray, Y: np.ndarray, models: dict[str, nnx.Network]
) -> None:
    """Draw where each model says 0 and where it says 1, with the points on top."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise nnx.MissingDependencyError("matplotlib", "plot", "--plot") from None

    low, high = X.min() - 0.5, X.max() + 0.5
    x_1, x_2 = np.meshgrid(np.linspace(low, high, 300), np.linspace(low, high, 300))
    grid = np.stack([x_1.ravel(), x_2.ravel()]).astype(np.float32)
    figure = Figure(figsize=(10, 5), layout="constrained")
    for axes, (title, model) in zip(figure.subplots(1, 2), models.items(), strict=True):
        axes.contourf(x_1, x_2, model.predict(grid).reshape(x_1.shape), cmap="Spectral", alpha=0.5)
        axes.scatter(*X, c=Y, cmap="Spectral", s=12, edgecolors="k", linewidths=0.3)
        axes.set(title=f"{title}: {model.score(X, Y):.1%}", xlabel="x_1", ylabel="x_2")
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", metavar="PATH", help="save the decision boundaries as a figure")
    main(plot=parser.parse_args().plot)
