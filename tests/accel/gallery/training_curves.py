"""Learning strategies compared, after scikit-learn's example plot_mlp_training_curves."""

import warnings

from sklearn.datasets import load_digits, load_iris, make_circles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler

STRATEGIES = {
    "constant learning rate": dict(solver="sgd", momentum=0, learning_rate_init=0.2),
    "constant with momentum": dict(
        solver="sgd", momentum=0.9, nesterovs_momentum=False, learning_rate_init=0.2
    ),
    "constant with Nesterov's momentum": dict(solver="sgd", learning_rate_init=0.2),
    "inverse scaling": dict(
        solver="sgd", learning_rate="invscaling", momentum=0, learning_rate_init=0.2
    ),
    "inverse scaling with momentum": dict(
        solver="sgd", learning_rate="invscaling", nesterovs_momentum=False, learning_rate_init=0.2
    ),
    "inverse scaling with Nesterov's momentum": dict(
        solver="sgd", learning_rate="invscaling", learning_rate_init=0.2
    ),
    "adam": dict(solver="adam", learning_rate_init=0.01),
}
DATA = {
    "iris": load_iris(return_X_y=True),
    "digits": load_digits(return_X_y=True),
    "circles": make_circles(noise=0.2, factor=0.5, random_state=1),
    "moons": make_moons(noise=0.3, random_state=0),
}

for name, (X, y) in DATA.items():
    X = MinMaxScaler().fit_transform(X)
    print(f"learning on dataset {name}")
    for label, settings in STRATEGIES.items():
        epochs = 15 if name == "digits" else 80
        network = MLPClassifier(random_state=0, max_iter=epochs, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(X, y)
        print(f"{label}: score {network.score(X, y):.3f}, loss {network.loss_:.3f}")
