"""Handwritten digits (lecture: "Supervised Learning with Neural Networks", image to 1, …, 10).

64 pixels in, ten probabilities out; judged on digits that it has not seen.
"""

from typing import Any

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def main(device: str = "auto", seed: int = 0, epochs: int = 40) -> Numbers:
    """Train on three quarters of scikit-learn's digits and count the right ones of the others."""
    train, test = datasets.digits().split(seed=seed)
    # Dropout: 300,000 parameters would learn 1,348 digits by heart. The penalty takes away what is
    # left of the random start in W[1], so that its rows show strokes.
    net = nnx.MLP([64, 512, 512, 10], keep_prob=0.5, l2=0.02, device=device, seed=seed)
    print(net.summary())
    rate = nnx.schedules.Cosine(0.002, epochs)
    history = net.fit(train.X, train.Y, epochs=epochs, batch_size=64, optimizer=nnx.Adam(rate))

    numbers = {"train": net.score(train.X, train.Y), "test": net.score(test.X, test.Y)}
    print(f"{epochs} epochs in {sum(history['seconds']):.1f} s on {net.device}")
    print(f"  right of {train.m} digits it learnt from  {numbers['train']:.1%}")
    print(f"  right of {test.m:4} others               {numbers['test']:.1%}")
    predicted = net.predict(test.X)
    for i in (predicted != test.Y).nonzero()[0][:1]:
        print(f"Its first mistake is a {test.Y[i]} taken for a {predicted[i]}:")
        for row in test.X[:, i].reshape(8, 8).tolist():
            print("  " + "".join(" .:oO#"[round(5 * pixel)] * 2 for pixel in row))
    return Numbers(numbers, "digits", net, test, predicted, history["cost"])


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a Figure: what units look for, and mistakes."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
