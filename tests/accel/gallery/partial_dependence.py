"""What a regressor learned of each input, after scikit-learn's example plot_partial_dependence.

Its data needs a network; Friedman's function, which has the same kind of answer, does not.
"""

from sklearn.datasets import make_friedman1
from sklearn.inspection import partial_dependence
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

X, y = make_friedman1(n_samples=1500, n_features=6, noise=0.5, random_state=0)
y -= y.mean()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.1, random_state=0)
model = make_pipeline(
    QuantileTransformer(n_quantiles=100),
    MLPRegressor(
        hidden_layer_sizes=(30, 15),
        learning_rate_init=0.01,
        early_stopping=True,
        random_state=0,
    ),
)
model.fit(X_train, y_train)
print(f"Test R2 score: {model.score(X_test, y_test):.3f}")
print("epochs:", model[-1].n_iter_)
for feature in range(4):
    result = partial_dependence(model, X_train, [feature], grid_resolution=6)
    print(f"input {feature}:", " ".join(f"{value:.3f}" for value in result["average"][0]))
