"""One hidden layer against none (lecture: "One hidden layer Neural Network").

Logistic regression can only cut the plane along a straight line, so on the flower it is about as
good as guessing. Four tanh units bend the boundary around the petals; one or two are too few.
"""

from typing import Any

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def main(device: str = "auto", seed: int = 0, epochs: int = 5000) -> Numbers:
    """Train networks with no, few and many hidden units on the flower."""
    data = datasets.flower(seed=seed)
    print(f"The flower: m = {data.m} points in two classes; accuracy on the points learnt from")
    numbers, nets, costs = {}, {}, {}
    for n_h in (0, 1, 2, 4, 20):
        if n_h == 0:
            net = nnx.LogisticRegression(2, device=device, seed=seed)
        else:
            net = nnx.MLP([2, n_h, 1], "tanh", "sigmoid", device=device, seed=seed)
        descent = nnx.GradientDescent(1.2)
        history = net.fit(data.X, data.Y, epochs=epochs, batch_size="all", optimizer=descent)
        nets[n_h], costs[n_h] = net, history["cost"]
        numbers[f"n_h {n_h}"] = net.score(data.X, data.Y)
        name = f"{n_h} tanh unit{'s' * (n_h > 1)}" if n_h else "logistic regression"
        print(f"  {name:20} {numbers[f'n_h {n_h}']:.1%}")
    return Numbers(numbers, "flower", data, nets, costs)


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a matplotlib Figure: boundaries and costs."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
