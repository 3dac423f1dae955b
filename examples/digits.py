"""Handwritten digits (lecture: "Supervised Learning with Neural Networks", image to 1, …, 10).

64 pixels in, ten probabilities out; judged on digits that it has not seen.
"""

import nnx
from nnx import datasets


def main(device: str = "auto", seed: int = 0, n_h: int = 128, epochs: int = 60) -> dict[str, float]:
    """Train on three quarters of scikit-learn's digits and count the right ones of the others."""
    train, test = datasets.digits().split(seed=seed)
    net = nnx.MLP([train.n_x, n_h, 10], device=device, seed=seed)
    history = net.fit(train.X, train.Y, epochs=epochs, batch_size=64, optimizer=nnx.Adam(0.003))
    numbers = {"train": net.score(train.X, train.Y), "test": net.score(test.X, test.Y)}
    print(net.summary())
    first, last = history["cost"][0], history["cost"][-1]
    print(f"cost {first:.3f} in the first epoch, {last:.4f} in epoch {epochs}")
    print(f"accuracy on the {train.m} digits it learnt from {numbers['train']:.2%}")
    print(f"accuracy on {test.m} others                     {numbers['test']:.2%}")
    wrong = (net.predict(test.X) != test.Y).nonzero()[0]
    for i in wrong[:1]:
        print(
            f"The first mistake: a {test.Y[i]} taken for a {net.predict(test.X[:, i : i + 1])[0]}"
        )
        for row in test.X[:, i].reshape(8, 8):
            print("  " + "".join(" .:oO#"[round(5 * pixel)] * 2 for pixel in row.tolist()))
    return numbers


if __name__ == "__main__":
    main()
