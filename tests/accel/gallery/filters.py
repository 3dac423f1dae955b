"""First-layer weights of a network for digits, after scikit-learn's example plot_mnist_filters."""

import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

X, y = load_digits(return_X_y=True)
X = X / 16.0
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, test_size=0.3)
network = MLPClassifier(
    hidden_layer_sizes=(40,),
    max_iter=8,
    alpha=1e-4,
    solver="sgd",
    verbose=10,
    random_state=1,
    learning_rate_init=0.2,
)
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
    warnings.filterwarnings("ignore", category=ConvergenceWarning, module="nnx")
    network.fit(X_train, y_train)
print(f"Training set score: {network.score(X_train, y_train):.3f}")
print(f"Test set score: {network.score(X_test, y_test):.3f}")

low, high = network.coefs_[0].min(), network.coefs_[0].max()
for number, weights in enumerate(network.coefs_[0].T[:16]):
    shades = (weights.reshape(8, 8)[3] - low) / (high - low)
    print(f"filter {number}, middle row:", " ".join(f"{shade:.3f}" for shade in shades))
