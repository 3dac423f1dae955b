"""Why activations must not be linear (lecture: "Why do you need non-linear activation functions?").

With g(z) = z the layers multiply into one: W3 (W2 (W1 x + b1) + b2) + b3 = W' x + b'. So two
hidden layers of identity units draw the same straight line as logistic regression; tanh in their
place bends it.
"""

from typing import Any

import numpy as np

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def multiply_out(net: nnx.Network) -> nnx.Network:
    """Return the one layer, W' and b', that a network of identity layers amounts to."""
    p, one = net.parameters, nnx.LogisticRegression(net.n_x, device=net.device)
    W, b = p["W1"], p["b1"]
    for layer in range(2, net.L + 1):
        W, b = p[f"W{layer}"] @ W, p[f"W{layer}"] @ b + p[f"b{layer}"]
    one.parameters = {"W1": W, "b1": b}
    return one


def main(device: str = "auto", seed: int = 0, epochs: int = 2000) -> Numbers:
    """Train one layer, three with identity and three with tanh on the moons and the flower."""
    numbers: dict[str, float] = {}
    shown = []
    for data in (datasets.moons(seed=seed), datasets.flower(seed=seed)):
        nets = {
            "one layer": nnx.LogisticRegression(2, device=device, seed=seed),
            "identity": nnx.MLP([2, 16, 16, 1], "identity", "sigmoid", device=device, seed=seed),
            "tanh": nnx.MLP([2, 16, 16, 1], "tanh", "sigmoid", device=device, seed=seed),
        }
        print(f"The {data.name}, n = [2, 16, 16, 1]: accuracy on the points learnt from")
        for name, net in nets.items():
            descent = nnx.GradientDescent(0.1)
            net.fit(data.X, data.Y, epochs=epochs, batch_size="all", optimizer=descent)
            numbers[f"{data.name} {name}"] = net.score(data.X, data.Y)
            print(f"  {name:10} {numbers[f'{data.name} {name}']:.1%}")
        deep = nets["identity"].predict_proba(data.X)
        one = multiply_out(nets["identity"]).predict_proba(data.X)
        difference = float(np.abs(deep - one).max())
        numbers[f"{data.name} difference"] = difference
        print(f"  the identity layers multiplied into one: outputs differ by {difference:.0e}")
        shown.append((data, nets))
    return Numbers(numbers, "linear", shown)


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a matplotlib Figure: the decision boundaries."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
