"""Trains models with scikit-learn and LightGBM, exports them, and writes down what they answer.

    make_sklearn_models.py <folder>

Writes a repository, `models/<name>/1/model.onnx`, as skl2onnx and onnxmltools export by themselves,
and `cases/<name>.json`: inputs of 64 rows and the outputs that the library itself computes from
them, as tensors in the protocol's JSON. The output of a ZipMap stands there as the tensor of its
values, with its keys as `labels`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import ModelProto
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common import data_types as of_onnxmltools
from reference import Tensors, datatype_of
from skl2onnx import to_onnx
from skl2onnx.common import data_types as of_skl2onnx
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

ROWS = 64
SEED = 7
# Labels of three sorts: not their own places, not all ASCII, and two that are the same.
NUMBERS = np.array([-7, 3, 10])
WORDS = np.array(["crème brûlée", "plain", "水"], np.object_)
TRUTHS = np.array([False, True, True])
PAIR = np.array([3, 10, 10])

# What a ZipMap is exported as: itself, which is the default; nothing; one output a class.
ZIPMAP, TENSOR, COLUMNS = True, False, "columns"

TYPES = {
    "FP32": of_skl2onnx.FloatTensorType,
    "FP64": of_skl2onnx.DoubleTensorType,
    "INT64": of_skl2onnx.Int64TensorType,
    "BYTES": of_skl2onnx.StringTensorType,
}

# Letters of any language, as scikit-learn means them; skl2onnx would take ASCII letters only.
ANY_WORD = r"[\p{L}\p{N}_]{2,}"


@dataclass(frozen=True)
class Output:
    """What the library answers, with one entry a row along `axis`; `labels` are a ZipMap's keys."""

    name: str
    values: np.ndarray
    labels: list[Any] | None = None
    axis: int = 0


@dataclass(frozen=True)
class Made:
    """An exported model, rows to ask it for, and the library's answer to them."""

    model: ModelProto
    inputs: Tensors
    outputs: list[Output]


@dataclass(frozen=True)
class Table:
    """Rows to learn from with their targets, and `ROWS` others to ask for."""

    learn: np.ndarray
    target: np.ndarray
    ask: np.ndarray


def wine(labels: np.ndarray) -> Table:
    """Three sorts of wine, called so."""
    rows, sorts = datasets.load_wine(return_X_y=True)
    return table(StandardScaler().fit_transform(rows), labels[sorts])


def wine_with_gaps() -> Table:
    """Sorts of wine of which not everything is known, which trees can do without."""
    whole = wine(NUMBERS)
    rng = np.random.default_rng(SEED)
    learn, ask = (
        np.where(rng.random(part.shape) < 0.1, np.nan, part) for part in (whole.learn, whole.ask)
    )
    return Table(learn, whole.target, ask)


def wine_far_from_zero() -> Table:
    """So far that nothing is left of a row in FP32, where neighbours are 8 apart."""
    whole = wine(WORDS)
    return Table(whole.learn + 1e8, whole.target, whole.ask + 1e8)


def wine_of_two_kinds() -> Table:
    """Two labels a row, neither of which tells the other."""
    whole = wine(NUMBERS)
    two = np.stack([whole.target > 0, whole.target != 3], axis=1)
    return Table(whole.learn, two.astype(np.int64), whole.ask)


def diabetes() -> Table:
    rows, target = datasets.load_diabetes(return_X_y=True)
    return table(rows * 10, target / 100)


def diabetes_twice() -> Table:
    whole = diabetes()
    return Table(whole.learn, np.stack([whole.target, whole.target**2], axis=1), whole.ask)


def table(rows: np.ndarray, target: np.ndarray) -> Table:
    """Shuffles and splits; values fit FP32, so that library and model compute with the same.

    A little noise, because a tree's threshold is halfway between two values, and an exported one
    is rounded: a row that lies right on it could go either way.
    """
    rng = np.random.default_rng(SEED)
    rows = (rows + rng.normal(0, 1e-3, rows.shape)).astype(np.float32).astype(np.float64)
    order = rng.permutation(len(rows))
    rows, target = rows[order], target[order]
    return Table(rows[ROWS:], target[ROWS:], rows[:ROWS])


def classifier(
    estimator: Any, data: Table, zipmap: bool | str = ZIPMAP, dtype: type = np.float32
) -> Made:
    estimator.fit(data.learn, data.target)
    return classified(estimator, data.ask, {"rows": data.ask.astype(dtype)}, zipmap)


def classified(
    estimator: Any, rows: Any, inputs: Tensors, zipmap: bool | str, **options: dict[str, Any]
) -> Made:
    """Exports a fitted classifier; `options` are those of a pipeline's steps."""
    steps = estimator.named_steps if isinstance(estimator, Pipeline) else {"only": estimator}
    given = {id(steps[name]): option for name, option in options.items()}
    if zipmap is not ZIPMAP:
        given[id(list(steps.values())[-1])] = {"zipmap": zipmap}
    model = to_onnx(estimator, initial_types=types(inputs), options=given or None)
    label = as_label(estimator.predict(rows))
    chances = estimator.predict_proba(rows).astype(float_of(inputs))
    check_decided(chances)
    classes = as_label(estimator.classes_).tolist()
    if zipmap == COLUMNS:
        each = [Output(f"i{name}", chances[:, at]) for at, name in enumerate(classes)]
        return Made(model, inputs, [Output("output_label", label), *each])
    if zipmap:
        both = [Output("output_label", label), Output("output_probability", chances, classes)]
        return Made(model, inputs, both)
    return Made(model, inputs, [Output("label", label), Output("probabilities", chances)])


def multi_label(estimator: Any, name: str, axis: int) -> Made:
    """Answers two labels a row; probabilities of a forest have the rows along axis 1."""
    data = wine_of_two_kinds()
    estimator.fit(data.learn, data.target)
    inputs = {"rows": data.ask.astype(np.float32)}
    options = {id(estimator): {"zipmap": TENSOR}}
    model = to_onnx(estimator, initial_types=types(inputs), options=options)
    chances = np.array(estimator.predict_proba(data.ask), np.float32)
    label = Output("label", estimator.predict(data.ask))
    return Made(model, inputs, [label, Output(name, chances, axis=axis)])


def regressor(
    estimator: Any, data: Table, name: str = "variable", dtype: type = np.float32
) -> Made:
    estimator.fit(data.learn, data.target)
    return computed(estimator, data.ask.astype(dtype), {name: column(estimator.predict(data.ask))})


def clusters() -> Made:
    data = wine(NUMBERS)
    estimator = KMeans(4, n_init=3, random_state=SEED).fit(data.learn)
    label = estimator.predict(data.ask).astype(np.int64)
    answer = {"label": label, "scores": estimator.transform(data.ask)}
    return computed(estimator, data.ask.astype(np.float32), answer)


def components() -> Made:
    data = wine(NUMBERS)
    estimator = PCA(3, random_state=SEED).fit(data.learn)
    answer = {"variable": estimator.transform(data.ask)}
    return computed(estimator, data.ask.astype(np.float32), answer)


def outliers() -> Made:
    """Answers a label and a score, each a column."""
    data = wine(NUMBERS)
    estimator = IsolationForest(n_estimators=20, random_state=SEED).fit(data.learn)
    scores = estimator.decision_function(data.ask)
    answer = {"label": column(estimator.predict(data.ask)), "scores": column(scores)}
    # The newest set of tree operators that this export has.
    opsets = {"": 21, "ai.onnx.ml": 3}
    return computed(estimator, data.ask.astype(np.float32), answer, target_opset=opsets)


def computed(estimator: Any, rows: np.ndarray, answer: Tensors, **export: Any) -> Made:
    """Exports what answers in numbers, in the type of the rows, and labels."""
    inputs = {"rows": rows}
    model = to_onnx(estimator, initial_types=types(inputs), **export)
    outputs = [
        Output(name, values.astype(rows.dtype) if values.dtype.kind == "f" else values)
        for name, values in answer.items()
    ]
    return Made(model, inputs, outputs)


def light_classifier(data: Table, **export: Any) -> Made:
    """By default with ZipMap, as the others."""
    estimator = LGBMClassifier(n_estimators=10, random_state=SEED, n_jobs=1, verbose=-1)
    estimator.fit(data.learn, data.target)
    chances = estimator.predict_proba(data.ask).astype(np.float32)
    check_decided(chances)
    keys = None if export else as_label(estimator.classes_).tolist()
    label = Output("label", as_label(estimator.predict(data.ask)))
    return light(estimator, data, [label, Output("probabilities", chances, keys)], **export)


def light_regressor() -> Made:
    data = diabetes()
    estimator = LGBMRegressor(n_estimators=10, random_state=SEED, n_jobs=1, verbose=-1)
    values = column(estimator.fit(data.learn, data.target).predict(data.ask))
    return light(estimator, data, [Output("variable", values.astype(np.float32))])


def light(estimator: Any, data: Table, outputs: list[Output], **export: Any) -> Made:
    kind = of_onnxmltools.FloatTensorType([None, data.ask.shape[1]])
    model = convert_lightgbm(estimator, initial_types=[("rows", kind)], **export)
    return Made(model, {"rows": data.ask.astype(np.float32)}, outputs)


def passengers(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Five columns: age with gaps, fare, family, town, class; and who stays."""
    age = rng.normal(40, 12, rows).astype(np.float32)
    fare = rng.gamma(2, 15, rows).astype(np.float32)
    family = rng.integers(0, 6, rows)
    town = rng.choice(np.array(["Köln", "東京", "Lyon", ""], np.object_), rows)
    sort = rng.choice(np.array(["first", "second", "third"], np.object_), rows)
    stays = age / 12 + fare / 30 - family / 3 + 1.5 * (town == "Lyon") - (sort == "third") > 3.5
    age[rng.random(rows) < 0.15] = np.nan
    columns = np.empty((rows, 5), np.object_)
    for place, values in enumerate([age, fare, family, town, sort]):
        columns[:, place] = values
    return columns, stays


def mixed(estimator: Any, labels: np.ndarray, zipmap: bool = ZIPMAP) -> Made:
    """Takes five inputs of three types, as a table's columns are."""
    rng = np.random.default_rng(SEED)
    learn, stays = passengers(300, rng)
    ask, _ = passengers(ROWS, rng)
    ask[5, 3] = "a town that nobody learned"
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), [0, 1]),
        (StandardScaler(), [2]),
        (OneHotEncoder(handle_unknown="ignore"), [3, 4]),
    )
    pipeline = make_pipeline(prepare, estimator).fit(learn, labels[stays.astype(np.int64)])
    names = {"age": "f4", "fare": "f4", "family": "i8", "town": "O", "class": "O"}
    inputs = {name: ask[:, [at]].astype(kind) for at, (name, kind) in enumerate(names.items())}
    return classified(pipeline, ask, inputs, zipmap)


def reviews(rows: int, rng: np.random.Generator, words: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts of words that blame, praise or neither, in upper and lower case; and who praises."""
    blame, praise, neither = (part.split() for part in words.split("|"))
    praises = rng.random(rows) < 0.5
    texts = []
    for is_praise in praises:
        said = [*rng.choice(neither, 4), *rng.choice(praise if is_praise else blame, 3)]
        cases = rng.choice([str, str.upper, str.lower], len(said))
        first, *rest = [case(word) for case, word in zip(cases, said, strict=True)]
        texts.append(f"{first}, {' '.join(rest)}!")
    return np.array(texts, np.object_), praises


GERMAN = (
    "ÄRGER Öl Straße ärgerlich kaputt öde|schön Glück ÜBERRASCHT fröhlich günstig Qualität"
    "|das die Lieferung und der a für"
)
ENGLISH = "broken slow late noisy|fast quiet lovely solid|the a delivery and is IT for 7"


def text(steps: list[Any], words: str, column: bool, **options: dict[str, Any]) -> Made:
    """Sorts texts, taken as a list or as a column, also those without any known word."""
    rng = np.random.default_rng(SEED)
    learn, praises = reviews(200, rng, words)
    ask, _ = reviews(ROWS, rng, words)
    ask[:4] = ["ÄRGER ärger Ärger Straße", "broken BROKEN Broken", "水 😀 nothing known", ""]
    pipeline = make_pipeline(*steps).fit(learn, np.where(praises, "gut", "schlecht"))
    inputs = {"text": ask.reshape(-1, 1) if column else ask}
    return classified(pipeline, ask, inputs, TENSOR, **options)


def types(inputs: Tensors) -> list[tuple[str, Any]]:
    """Inputs as skl2onnx wants them told: any number of rows."""
    return [
        (name, TYPES[datatype_of(array)]([None, *array.shape[1:]]))
        for name, array in inputs.items()
    ]


def float_of(inputs: Tensors) -> type:
    """The type that an exported classifier computes in."""
    return np.float64 if any(array.dtype == np.float64 for array in inputs.values()) else np.float32


def column(values: np.ndarray) -> np.ndarray:
    """Values of rows as ONNX has them, where scikit-learn answers a flat list."""
    return values.reshape(len(values), -1)


def as_label(values: np.ndarray) -> np.ndarray:
    """Labels as ONNX has them: integers, which truths become, or strings."""
    return values.astype(np.object_ if values.dtype.kind in "OU" else np.int64)


def check_decided(chances: np.ndarray) -> None:
    """Fails if a row's best two classes are so close that rounding may choose the label."""
    best = np.sort(chances, axis=1)[:, -2:]
    close = np.flatnonzero(best[:, 1] - best[:, 0] < 1e-4)
    if close.size:
        raise AssertionError(f"rows {close} are undecided: {best[close]}")


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(25, max_depth=5, random_state=SEED)


def svm() -> SVC:
    return SVC(probability=True, random_state=SEED)


def net() -> MLPClassifier:
    return MLPClassifier((16,), solver="lbfgs", random_state=SEED)


def process() -> GaussianProcessRegressor:
    return GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=SEED)


def makers() -> dict[str, Callable[[], Made]]:
    """Every model by its name."""
    linear, two = LogisticRegression, np.array(["leaves", "stays"], np.object_)
    boosting = partial(HistGradientBoostingClassifier, max_iter=20, random_state=SEED)
    scaled = make_pipeline(StandardScaler(), linear())
    any_word = {"tokenexp": ANY_WORD}
    counted = CountVectorizer(token_pattern=r"[^ ,!]+")
    return {
        "logistic": lambda: classifier(linear(), wine(NUMBERS)),
        "logistic_tensor": lambda: classifier(linear(), wine(NUMBERS), TENSOR),
        "logistic_columns": lambda: classifier(linear(), wine(NUMBERS), COLUMNS),
        "logistic_truths": lambda: classifier(linear(), wine(TRUTHS)),
        "forest": lambda: classifier(forest(), wine(WORDS)),
        "forest_tensor": lambda: classifier(forest(), wine(WORDS), TENSOR),
        "boosting": lambda: classifier(
            GradientBoostingClassifier(n_estimators=20, random_state=SEED), wine(WORDS)
        ),
        "hist_boosting": lambda: classifier(boosting(), wine_with_gaps(), TENSOR),
        "net": lambda: classifier(net(), wine(NUMBERS)),
        "neighbours": lambda: classifier(KNeighborsClassifier(3), wine(WORDS)),
        "svm": lambda: classifier(svm(), wine(WORDS)),
        "svm_tensor": lambda: classifier(svm(), wine(NUMBERS), TENSOR),
        "multi_label": lambda: multi_label(OneVsRestClassifier(linear()), "probabilities", 0),
        "multi_label_forest": lambda: multi_label(forest(), "probabilities", 1),
        "ridge": lambda: regressor(Ridge(), diabetes()),
        "ridge_of_two": lambda: regressor(Ridge(), diabetes_twice()),
        "forest_of_numbers": lambda: regressor(
            RandomForestRegressor(10, random_state=SEED), diabetes_twice()
        ),
        "hist_boosting_of_numbers": lambda: regressor(
            HistGradientBoostingRegressor(max_iter=20, random_state=SEED), diabetes()
        ),
        "svm_of_numbers": lambda: regressor(SVR(), diabetes()),
        "clusters": clusters,
        "components": components,
        "outliers": outliers,
        "fp64_logistic": lambda: classifier(scaled, wine_far_from_zero(), TENSOR, np.float64),
        "fp64_net": lambda: classifier(net(), wine(NUMBERS), TENSOR, np.float64),
        "fp64_process": lambda: regressor(process(), diabetes(), "GPmean", np.float64),
        "mixed": lambda: mixed(linear(), two),
        "mixed_tensor": lambda: mixed(net(), NUMBERS[1:], TENSOR),
        "text_english": lambda: text([TfidfVectorizer(), linear()], ENGLISH, True),
        "text_german": lambda: text(
            [TfidfVectorizer(ngram_range=(1, 2)), linear()], GERMAN, True, tfidfvectorizer=any_word
        ),
        "text_counted": lambda: text(
            [counted, MultinomialNB()], GERMAN, False, countvectorizer={"separators": list(" ,!")}
        ),
        "light": lambda: light_classifier(wine(WORDS)),
        "light_tensor": lambda: light_classifier(wine_with_gaps(), zipmap=False),
        "light_of_two": lambda: light_classifier(wine(PAIR)),
        "light_of_two_tensor": lambda: light_classifier(wine(PAIR), zipmap=False),
        "light_of_numbers": light_regressor,
    }


def write(folder: Path, name: str, made: Made) -> None:
    version = folder / "models" / name / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(made.model.SerializeToString())
    outputs = [
        {**tensor(output.name, output.values), "labels": output.labels, "axis": output.axis}
        for output in made.outputs
    ]
    inputs = [tensor(name, values) for name, values in made.inputs.items()]
    case = json.dumps({"inputs": inputs, "outputs": outputs}, ensure_ascii=False)
    (folder / "cases" / f"{name}.json").write_text(case, "utf-8")


def tensor(name: str, values: np.ndarray) -> dict[str, Any]:
    """A tensor in the protocol's JSON."""
    return {
        "name": name,
        "datatype": datatype_of(values),
        "shape": values.shape,
        "data": values.ravel().tolist(),
    }


def main(folder: Path) -> None:
    (folder / "cases").mkdir(parents=True)
    # Threads cost more than they bring with so few rows.
    with threadpool_limits(1):
        for name, make in makers().items():
            write(folder, name, make())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
