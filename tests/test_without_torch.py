"""Training, files, predictions and the command line work where PyTorch cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NO_TORCH = """
import sys


class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)


sys.meta_path.insert(0, NoTorch())
"""


def run_without_torch(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    command = [sys.executable, "-c", NO_TORCH + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def output_of(code: str, *arguments: str | Path) -> str:
    """Return what code prints in such a process."""
    done = run_without_torch(code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_pytorch_fails_in_these_processes() -> None:
    done = run_without_torch("import tabcohort.network.models")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torch'"


FIT = """
import itertools
import numpy as np
import tabcohort

rng = np.random.default_rng(0)
X = rng.normal(size=(150, 3))
labels = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
table = tabcohort.Table.from_arrays(X, labels)
settings = tabcohort.CohortSettings(folds=3, seeds=1)


def check(path, **changes):
    config = tabcohort.Config(
        max_epochs=30, hidden=(9, 5), learning_rate=0.02, batch_norm=True, dropout=0.1, **changes
    )
    predictor = tabcohort.fit(table, config, settings, checkpoint=path + ".checkpoint")
    tabcohort.save(predictor, path)
    loaded = tabcohort.load(path)
    assert len(loaded.models) == 3
    assert (loaded.predict_proba(X) == predictor.predict_proba(X)).all()
    assert (loaded.predict(X) == labels).mean() > 0.6
    record = dict(zip(loaded.schema.features, X[7]))
    probability = loaded.predict_row(record).probability
    assert list(probability.values()) == predictor.predict_proba(X)[7].tolist()
    assert loaded.evaluate(table).n_rows == 150
    assert loaded.outlier_cells(X)[1].max() < 20
    assert loaded.predict_set(X).any()
    assert (loaded.predict_uncertainty(X) >= 0).all()
    repr(loaded), str(loaded.models[0].program)
    assert "torch" not in sys.modules and "sklearn" not in sys.modules


for model, engine in itertools.product(["logistic", "mlp", "residual"], ["auto", "compiled"]):
    check(f"{sys.argv[1]}/{model}-{engine}", model=model, engine=engine)
    print(model, engine)
"""
MODELS = [f"{model}-{engine}" for model in ("logistic", "mlp", "residual") for engine in ("auto", "compiled")]


def test_models_are_trained_saved_loaded_and_predict(tmp_path: Path) -> None:
    assert output_of(FIT, tmp_path).splitlines() == [name.replace("-", " ") for name in MODELS]
    for name in MODELS:
        assert (tmp_path / name).exists()
        assert len(list((tmp_path / f"{name}.checkpoint").iterdir())) == 3


def test_the_classifier_of_scikit_learn_works() -> None:
    code = """
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from tabcohort import CohortClassifier
X, y = load_iris(return_X_y=True)
classifier = CohortClassifier(hidden=(16,), learning_rate=0.02, max_epochs=60, folds=3, seeds=1)
print(cross_val_score(classifier, X, y, cv=3).mean())
"""
    assert float(output_of(code)) > 0.85


CLI = "from tabcohort.cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_the_command_line_fits_and_describes(csv_file: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tabcohort"
    (tmp_path / "quick.toml").write_text("max_epochs = 3\nhidden = [8]\n")
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", "--settings", tmp_path / "quick.toml"]
    output_of(CLI, *fit, "--out", model)
    assert "(compiled engine)" in output_of(CLI, "info", model)


def test_the_command_line_describes_predicts_and_evaluates(model_file: Path, csv_file: Path, tmp_path: Path) -> None:
    assert "logistic predicts answer from 3 features" in output_of(CLI, "info", model_file)
    assert json.loads(output_of(CLI, "info", model_file, "--json"))["report"]["engine"] == "compiled"
    out = tmp_path / "answers.csv"
    output_of(CLI, "predict", model_file, csv_file, "--out", out)
    assert len(out.read_text().splitlines()) == 91
    assert "measured on 90 rows of" in output_of(CLI, "evaluate", model_file, csv_file)


def test_the_torch_engine_is_an_import_error_that_names_it() -> None:
    code = """
import numpy as np
import tabcohort
X = np.random.default_rng(0).normal(size=(60, 2))
tabcohort.fit(tabcohort.Table.from_arrays(X, X[:, 0] > 0), tabcohort.Config(engine="torch", max_epochs=1))
"""
    done = run_without_torch(code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torch'"
