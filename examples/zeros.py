"""Why weights start at random (lecture: "What happens if you initialize weights to zero?").

With W = 0 every hidden unit computes the same and gets the same gradient, so they stay equal for
ever and the layer is worth one unit. Small random numbers break the symmetry.
"""

import numpy as np

import nnx
from nnx import datasets


def main(device: str = "auto", seed: int = 0, n_h: int = 8, epochs: int = 4000) -> dict[str, float]:
    """Train the same network on the flower from zeros and from random weights."""
    X, Y, *_ = datasets.flower(seed=seed)
    numbers = {}
    print(f"The flower, {n_h} hidden sigmoid units, {epochs} steps of gradient descent")
    for start in ("zeros", "random"):
        hidden = nnx.Dense(n_h, "sigmoid", initialiser="zeros" if start == "zeros" else None)
        output = nnx.Dense(1, "sigmoid", initialiser="zeros" if start == "zeros" else None)
        net = nnx.Network([hidden, output], n_x=2, device=device, seed=seed)
        net.fit(X, Y, epochs=epochs, batch_size="all", optimizer=nnx.GradientDescent(2.0))
        W1 = net.backend.to_numpy(net.parameters["W1"])
        numbers[f"{start}_spread"] = float(np.abs(W1 - W1[0]).max())
        numbers[f"{start}_moved"] = float(np.abs(W1).max())
        numbers[f"{start}_accuracy"] = net.score(X, Y)
        print(
            f"  from {start:6}  largest |W1| {numbers[f'{start}_moved']:6.2f}, "
            f"difference between two units up to {numbers[f'{start}_spread']:.2g}, "
            f"accuracy {numbers[f'{start}_accuracy']:.2%}"
        )
    return numbers


if __name__ == "__main__":
    main()
