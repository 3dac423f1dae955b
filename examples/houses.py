"""A network with hidden features of its own making (lecture: "Housing Price Prediction").

The price depends on family size, walkability and school quality, none of which the table holds.
Linear regression cannot make them up; the hidden units of a network do.
"""

import nnx
from nnx import datasets


def main(
    device: str = "auto", seed: int = 0, m: int = 4000, n_h: int = 32, epochs: int = 100
) -> dict[str, float]:
    """Fit both to three quarters of the houses and compare R² on the others."""
    houses = datasets.houses(m, seed=seed)
    train, test = datasets.standardize(*houses.split(seed=seed))
    linear = nnx.MLP([houses.n_x, 1], output="identity", device=device, seed=seed)
    network = nnx.MLP([houses.n_x, n_h, n_h, 1], "relu", "identity", device=device, seed=seed)
    numbers = {}
    print(f"House prices: {train.m} houses to learn from, {test.m} others to be judged by")
    for name, net in (("linear", linear), ("network", network)):
        net.fit(train.X, train.Y, epochs=epochs, batch_size=64, optimizer=nnx.Adam(0.003))
        numbers[name] = net.score(test.X, test.Y)
        print(f"  {name:8} {net.n_parameters:5} parameters, R² {numbers[name]:.3f}")
    print("Three of the others (prices in 100 000):")
    found = network.predict(test.X[:, :3])
    raw, names = houses.split(seed=seed)[1].X, houses.feature_names
    for i in range(3):
        inputs = ", ".join(f"{n} {x:.1f}" for n, x in zip(names, raw[:, i], strict=True))
        print(f"  {inputs}: sold for {test.Y[0, i]:.2f}, the network says {found[0, i]:.2f}")
    return numbers


if __name__ == "__main__":
    main()
