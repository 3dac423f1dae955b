"""Classifiers side by side, after scikit-learn's example plot_classifier_comparison."""

import numpy as np
from sklearn.datasets import make_circles, make_classification, make_moons
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

network = MLPClassifier(alpha=1, max_iter=1000, random_state=42)
CLASSIFIERS = {
    "Nearest Neighbors": KNeighborsClassifier(3),
    "Neural Net": network,
    "Naive Bayes": GaussianNB(),
    "Neural Net, searched": GridSearchCV(network, {"alpha": [0.1, 1.0]}, cv=2),
    "Stacked": StackingClassifier(
        [("net", network), ("bayes", GaussianNB())], LogisticRegression(), cv=2
    ),
}
X, y = make_classification(
    n_features=2, n_redundant=0, n_informative=2, random_state=1, n_clusters_per_class=1
)
X += 2 * np.random.RandomState(2).uniform(size=X.shape)
DATA = {
    "moons": make_moons(noise=0.3, random_state=0),
    "circles": make_circles(noise=0.2, factor=0.5, random_state=1),
    "linear": (X, y),
}

for name, (X, y) in DATA.items():
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
    for label, classifier in CLASSIFIERS.items():
        fitted = make_pipeline(StandardScaler(), classifier).fit(X_train, y_train)
        print(f"{name}, {label}: {fitted.score(X_test, y_test):.3f}")
