"""A made-up table of houses and their prices, after the lecture's first example of a network."""

import numpy as np

from nnx.datasets._dataset import Dataset
from nnx.inputs import check_number


def houses(m: int = 1000, *, noise: float = 0.05, seed: int = 0) -> Dataset:
    """Draw houses and their prices.

    As in the lecture, the price comes from things the table does not hold: the family size that
    fits (size and bedrooms), how walkable the place is (distance) and the quality of the school
    (distance and wealth). None is linear in the inputs, and they multiply each other.

    Parameters
    ----------
    m : int
        Number of houses.
    noise : float
        Standard deviation of the logarithm of the price around what the inputs say; 0.05 means
        that prices are off by about 5 %.
    seed : int

    Returns
    -------
    Dataset
        X (5, m): size in m², bedrooms, age in years, distance to the centre in km, and wealth of
        the neighbourhood in 1000 a year, in these units (see `standardize`). Y (1, m): the price
        in 100 000.
    """
    check_number("houses: m", m, 1, whole=True)
    check_number("houses: noise", noise, 0)
    check_number("houses: seed", seed, 0, whole=True)
    rng = np.random.default_rng(seed)
    size = np.clip(rng.lognormal(np.log(110), 0.4, m), 30, 400)
    bedrooms = np.clip(np.rint(size / 35 + rng.normal(0, 0.8, m)), 1, 8)
    age = rng.uniform(0, 120, m)
    distance = np.clip(rng.gamma(2.0, 4.0, m), 0.2, 40)
    wealth = np.clip(rng.lognormal(np.log(40), 0.35, m), 12, 150)

    family = np.minimum(bedrooms + 1, size / 22)  # who fits, by rooms and by room
    walkable = np.exp(-distance / 4)
    school = 1 / (1 + np.exp(-(wealth - 45) / 10 - (distance - 10) / 10))
    worn = 1 - 0.25 * np.exp(-(((age - 60) / 30) ** 2))  # new and period houses cost more
    price = (0.5 + 0.45 * family) * (1 + 1.2 * walkable + 0.8 * school) * worn
    price *= np.exp(noise * rng.standard_normal(m))

    rows = np.column_stack([size, bedrooms, age, distance, wealth])
    names = ("size_m2", "bedrooms", "age_years", "distance_km", "wealth_k")
    Y = price[None, :].astype(np.float32, order="F")
    return Dataset(rows.astype(np.float32).T, Y, "houses", names, ("price_100k",))
