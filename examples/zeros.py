"""Why weights start at random (lecture: "What happens if you initialize weights to zero?").

From W = 0 every hidden unit computes the same and gets the same gradient. So the units move, but
together: four of them are worth one. Random numbers break the symmetry.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def main(device: str = "auto", seed: int = 0, epochs: int = 3000) -> Numbers:
    """Train four hidden units from zeros, one from a random start, and four from a random start."""
    # m is odd: with as many points of one class as of the other, the gradient at W = 0 is zero,
    # and only rounding errors would set the units in motion.
    data = datasets.flower(401, seed=seed)
    print(f"The flower, {epochs} steps of gradient descent; accuracy on the points learnt from")
    numbers, nets, paths = {}, {}, {}
    for start, n_h in (("zeros", 4), ("random", 1), ("random", 4)):
        initialiser = "zeros" if start == "zeros" else "glorot"
        net = nnx.MLP(
            [2, n_h, 1], "sigmoid", "sigmoid", initialiser=initialiser, device=device, seed=seed
        )
        path = [weights(net)]
        net.fit(
            data.X, data.Y, epochs=epochs, batch_size="all", optimizer=nnx.GradientDescent(1.0),
            callbacks=[recorder(path)],
        )  # fmt: skip
        W1, name = path[-1], f"{start} {n_h}"
        nets[name], paths[name] = net, np.stack(path)
        numbers[f"{name} moved"] = float(np.abs(W1).max())
        numbers[f"{name} apart"] = float(np.abs(W1 - W1[0]).max())
        numbers[f"{name} accuracy"] = net.score(data.X, data.Y)
        units, right = f"unit{'s' * (n_h > 1)}", numbers[f"{name} accuracy"]
        print(f"  {n_h} sigmoid {units} from {start}: {right:.1%}; W[1] =")
        print("    " + np.array2string(W1, precision=4, suppress_small=True, prefix="    "))
    return Numbers(numbers, "zeros", data, nets, paths)


def weights(net: nnx.Network) -> np.ndarray:
    """Return W[1] (n_h, 2), one row per unit, as it is now."""
    return np.array(net.backend.to_numpy(net.parameters["W1"]))


def recorder(path: list[np.ndarray]) -> Callable[..., None]:
    """Return a callback that adds W[1] to the path after each step."""
    return lambda net, history: path.append(weights(net))


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a Figure: the units' ways and the boundaries."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
