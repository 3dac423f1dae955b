"""From one ReLU unit to a network (lecture: "Housing Price Prediction").

The smallest network is one ReLU unit: the price grows with the size and is never negative. The
price really depends on family size, walkability and school quality, none of which the table holds;
hidden units make up such features for themselves.
"""

from typing import Any

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def main(device: str = "auto", seed: int = 0, epochs: int = 80) -> Numbers:
    """Fit four networks to three quarters of the houses and compare them on the others."""
    houses = datasets.houses(4000, seed=seed)
    sold = houses.split(seed=seed)[1]
    train, test = datasets.standardize(*houses.split(seed=seed))
    nets = {
        "one ReLU unit, size only": ([1, 1], "relu"),
        "one ReLU unit": ([5, 1], "relu"),
        "4 hidden units": ([5, 4, 1], "identity"),
        "32 hidden units": ([5, 32, 1], "identity"),
    }
    print(f"Prices of {test.m} houses, learnt from {train.m} others")
    numbers, prices = {}, {}
    for name, (n, output) in nets.items():
        net = nnx.MLP(n, "relu", output, device=device, seed=seed)
        X, X_test = train.X[: net.n_x], test.X[: net.n_x]  # row 0 is the size
        net.fit(X, train.Y, epochs=epochs, batch_size=64, optimizer=nnx.Adam(0.005))
        prices[name] = predicted = net.predict(X_test)
        numbers[name] = 1e5 * float(abs(predicted - test.Y).mean())
        R2 = net.score(X_test, test.Y)
        print(f"  {name:25} off by {numbers[name]:6,.0f} on average, R² {R2:.2f}")
    print(f"Three of the houses, as the network of {name} sees them:")
    for i in range(3):
        size, bedrooms, age, distance, wealth = sold.X[:, i]
        print(
            f"  {size:3.0f} m², {bedrooms:.0f} bedrooms, {age:3.0f} years old, {distance:4.1f} km "
            f"out, incomes of {wealth:3.0f} 000: worth {1e5 * predicted[0, i]:7,.0f}, "
            f"sold for {1e5 * sold.Y[0, i]:7,.0f}"
        )
    return Numbers(numbers, "houses", sold.Y[0], prices)


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a Figure: predicted over true prices."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
