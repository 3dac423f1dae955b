"""Why activations must not be linear (lecture: "Why do you need non-linear activation functions?").

With g(z) = z the layers multiply into one: W3 (W2 (W1 x + b1) + b2) + b3 = W' x + b'. So two
hidden layers of identity units draw the same straight line as logistic regression; tanh in their
place bends it.
"""

import numpy as np

import nnx
from nnx import datasets


def collapse(net: nnx.Network, X: np.ndarray) -> np.ndarray:
    """Return sigmoid(W' X + b') of the one layer that a network of identity layers amounts to."""
    p = {name: net.backend.to_numpy(value) for name, value in net.parameters.items()}
    W, b = np.eye(net.n_x), np.zeros((net.n_x, 1))
    for layer in range(1, net.L + 1):
        W, b = p[f"W{layer}"] @ W, p[f"W{layer}"] @ b + p[f"b{layer}"]
    return 1 / (1 + np.exp(-(W @ X + b)))


def main(
    device: str = "auto", seed: int = 0, n_h: int = 16, epochs: int = 2000
) -> dict[str, float]:
    """Train one layer, three identity layers and three tanh layers on the moons and the flower."""
    numbers = {}
    for X, Y, name, *_ in (datasets.moons(seed=seed), datasets.flower(seed=seed)):
        nets = {
            "one layer": nnx.LogisticRegression(2, device=device, seed=seed),
            "identity": nnx.MLP([2, n_h, n_h, 1], "identity", "sigmoid", device=device, seed=seed),
            "tanh": nnx.MLP([2, n_h, n_h, 1], "tanh", "sigmoid", device=device, seed=seed),
        }
        print(f"{name}, n[1] = n[2] = {n_h}: accuracy on the training set")
        for kind, net in nets.items():
            net.fit(X, Y, epochs=epochs, batch_size="all", optimizer=nnx.GradientDescent(0.1))
            numbers[f"{name} {kind}"] = net.score(X, Y)
            print(f"  {kind:10} {numbers[f'{name} {kind}']:7.2%}")
        deep = nets["identity"]
        difference = np.abs(deep.predict_proba(X)[-1] - collapse(deep, X)[-1]).max()
        numbers[f"{name} difference"] = float(difference)
        print(f"  the identity layers, multiplied into one, differ by {difference:.1e}")
    return numbers


if __name__ == "__main__":
    main()
