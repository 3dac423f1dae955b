"""Regularisation varied, after scikit-learn's example plot_mlp_alpha.

Its two smaller alphas are left out: there L-BFGS takes hundreds of steps, and scikit-learn itself
gives other scores on another processor.
"""

import numpy as np
from sklearn.datasets import make_circles, make_classification, make_moons
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = make_classification(
    n_features=2, n_redundant=0, n_informative=2, random_state=0, n_clusters_per_class=1
)
X += 2 * np.random.RandomState(2).uniform(size=X.shape)
DATA = {
    "moons": make_moons(noise=0.3, random_state=0),
    "circles": make_circles(noise=0.2, factor=0.5, random_state=1),
    "linear": (X, y),
}

for name, (X, y) in DATA.items():
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
    for alpha in np.logspace(0, 1, 2):
        network = make_pipeline(
            StandardScaler(),
            MLPClassifier(
                solver="lbfgs",
                alpha=alpha,
                random_state=1,
                max_iter=2000,
                early_stopping=True,
                hidden_layer_sizes=[10, 10],
            ),
        )
        network.fit(X_train, y_train)
        print(f"{name}, alpha {alpha:.2f}: score {network.score(X_test, y_test):.3f}")
