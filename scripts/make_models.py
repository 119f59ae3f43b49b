#!/usr/bin/env python3
"""Make the demo models of this repository, with their cards and golden cases.

    python scripts/make_models.py                   write every version below models/
    python scripts/make_models.py --only iris       write one model
    python scripts/make_models.py --check           compare models/ with a fresh build

Everything comes from the data sets inside scikit-learn's own wheel; nothing is downloaded. Install
the versions pinned in tests/requirements.txt first.

Two runs on one machine give identical bytes. Another BLAS or CPU may change the last bits of a
sum, so training runs on one thread in double precision and weights keep 12 significant bits, which
absorbs nearly all such differences. Where one gets through, `--check` says that bytes differ, and
fails only if something a user relies on has changed: signature, graph, accuracy, the golden cases'
names and inputs, the wording of a card, or a committed model's own answers.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

Array = NDArray[Any]
Tensors = dict[str, Array]

MODELS = Path(__file__).resolve().parent.parent / "models"
SPLIT_SEED = 7
OPSET, IR_VERSION = 17, 8
RTOL, ATOL = 1e-5, 1e-6
MAX_BYTES = 1_000_000
# Two builds of one model may differ by this much in held-out accuracy before --check fails.
ACCURACY_SLACK = 0.03
# The row that tells the two iris versions apart: a held-out virginica; version 1 says versicolor.
PROBE = [4.9, 2.5, 4.5, 1.7]
PROBE_GAP = 0.05


@dataclass(frozen=True)
class Card:
    """The prose of a model card; tables and numbers are written from the model itself."""

    title: str
    purpose: str
    intended_use: str
    data: str
    training: str
    limitations: str


@dataclass(frozen=True)
class HeldOut:
    """Rows that no training saw, and the class of each."""

    inputs: Tensors
    classes: Array


@dataclass(frozen=True)
class DemoModel:
    """One version of one model, complete but for what is computed by running it."""

    name: str
    version: int
    proto: onnx.ModelProto
    card: Card
    class_names: list[str]
    cases: dict[str, Tensors]
    held_out: HeldOut
    least_accuracy: float

    @property
    def folder(self) -> Path:
        """Where this version lives below the repository of models."""
        return Path(self.name, str(self.version))


@dataclass(frozen=True)
class Scores:
    """How well a version does on its held-out rows."""

    rows: int
    accuracy: float
    log_loss: float
    brier: float

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        z, n, p = 1.96, self.rows, self.accuracy
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return middle - half, middle + half


@dataclass
class Graph:
    """An ONNX graph that grows node by node; every method returns the name of what it added."""

    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def input(self, name: str, dtype: int, dims: list[int], doc: str) -> str:
        """Adds an input whose first dimension is the batch."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, ["batch", *dims], doc))
        return name

    def output(self, name: str, dtype: int, dims: list[int], doc: str) -> str:
        """Adds an output whose first dimension is the batch."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, ["batch", *dims], doc))
        return name

    def constant(self, name: str, value: Array) -> str:
        """Adds a weight or another fixed tensor."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds one operation with one output, which also names the node."""
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def dense(self, source: str, weight: Array, bias: Array, output: str) -> str:
        """Adds `source @ weight + bias`."""
        product = self.node(
            "MatMul", [source, self.constant(f"{output}_weight", weight)], f"{output}_product"
        )
        return self.node("Add", [product, self.constant(f"{output}_bias", bias)], output)

    def convolution(self, source: str, kernel: Array, bias: Array, output: str) -> str:
        """Adds a 3 by 3 convolution that keeps height and width."""
        weights = [self.constant(f"{output}_kernel", kernel), self.constant(f"{output}_bias", bias)]
        return self.node(
            "Conv", [source, *weights], output, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        )

    def answers(self, logits: str, class_names: list[str], spell: bool) -> None:
        """Adds the outputs that every demo model has: `label` and `probabilities`."""
        listed = ", ".join(f"{i} {name}" for i, name in enumerate(class_names))
        if spell:
            index = self.node("ArgMax", [logits], "label_index", axis=1, keepdims=0)
            names = self.constant("class_names", np.array(class_names, dtype=object))
            label = self.output("label", TensorProto.STRING, [], "name of the likeliest class")
            self.node("Gather", [names, index], label, axis=0)
        else:
            label = self.output(
                "label", TensorProto.INT64, [], f"index of the likeliest class: {listed}"
            )
            self.node("ArgMax", [logits], label, axis=1, keepdims=0)
        probabilities = self.output(
            "probabilities",
            TensorProto.FLOAT,
            [len(class_names)],
            f"probability of each class, summing to 1; columns: {listed}",
        )
        self.node("Softmax", [logits], probabilities, axis=1)

    def model(self, name: str, version: int, doc: str, metadata: dict[str, Any]) -> onnx.ModelProto:
        """The finished and checked model."""
        graph = helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants, doc_string=doc
        )
        domains = sorted({node.domain for node in self.nodes})
        proto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(d, 1 if d else OPSET) for d in domains],
            ir_version=IR_VERSION,
            producer_name="tidegate scripts/make_models.py",
            producer_version="1",
            domain="tidegate.demo",
            model_version=version,
            doc_string=doc,
        )
        helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
        onnx.checker.check_model(proto, full_check=True)
        return proto


# The models


def iris_1() -> DemoModel:
    """Logistic regression on Fisher's iris."""
    x, y, names = iris_data()
    train_x, test_x, train_y, test_y = split(x, y, held_out=50)
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    weight, bias = logistic_regression((train_x - mean) / deviation, train_y)
    weight, bias = fold_standardisation(mean, deviation, weight, bias)

    graph = Graph()
    rows = iris_input(graph)
    logits = graph.dense(rows, coarse(weight), coarse(bias), "logits")
    graph.answers(logits, names, spell=False)
    training = """
        Multinomial logistic regression (scikit-learn, L2 penalty with C = 1, Newton's method until
        it converges) on standardised measurements; mean and standard deviation of the training
        rows are folded into the weights, so the graph is MatMul, Add, Softmax and ArgMax."""
    return iris_version(1, "logistic regression", graph, training, names, test_x, test_y)


def iris_2() -> DemoModel:
    """A small neural network on Fisher's iris."""
    x, y, names = iris_data()
    train_x, test_x, train_y, test_y = split(x, y, held_out=50)
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    hidden_weight, hidden_bias, weight, bias = train_mlp(
        (train_x - mean) / deviation, one_hot(train_y), hidden=16
    )
    hidden_weight, hidden_bias = fold_standardisation(
        mean, deviation, hidden_weight, hidden_bias
    )

    graph = Graph()
    rows = iris_input(graph)
    hidden = graph.dense(rows, coarse(hidden_weight), coarse(hidden_bias), "hidden")
    active = graph.node("Relu", [hidden], "active")
    logits = graph.dense(active, coarse(weight), coarse(bias), "logits")
    graph.answers(logits, names, spell=False)
    training = """
        A network of 4, 16 and 3 units with ReLU (numpy; Adam on all training rows at once, 400
        steps, rate 0.02 falling to 0 along a cosine, weight decay 0.02, seed 2) on standardised
        measurements; mean and standard deviation of the training rows are folded into the first
        layer."""
    return iris_version(2, "small neural network", graph, training, names, test_x, test_y)


def iris_version(
    version: int, kind: str, graph: Graph, training: str, names: list[str], x: Array, y: Array
) -> DemoModel:
    """What both iris versions share: card, golden cases, metadata. `x`, `y` are held out."""
    features = ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"]
    card = Card(
        title=f"iris, version {version}: {kind}",
        purpose="""
            Tells three species of iris apart by four measurements of a flower, in centimetres.
            Version 1 is a logistic regression, version 2 a small neural network, better where the
            species overlap. The golden case `probe` tells them apart: on this held-out virginica
            version 1 answers label 1, version 2 label 2, and their probabilities differ by far
            more than 0.05.""",
        intended_use="""
            Demonstrations and tests of Tidegate: loading, hot swaps, traffic splits, drift. Not
            for identifying plants.""",
        data="""
            Fisher's iris as bundled with scikit-learn (`load_iris`): 150 flowers, 50 of each
            species; 100 rows train and 50 are held out, stratified by species. R. A. Fisher, "The
            use of multiple measurements in taxonomic problems", Annals of Eugenics 7 (1936)
            179-188; UCI Machine Learning Repository, https://doi.org/10.24432/C56C76, CC BY 4.0.
            """,
        training=training,
        limitations="""
            Three species, one small study of 1936. Versicolor and virginica overlap and are the
            only ones confused. With 50 held-out rows one flower is two points of accuracy. Rows
            far from the measured ranges, all-zero ones too, get a confident and meaningless
            answer; there is no class "none of these".""",
    )
    rows = one_per_class({"input": x.astype(np.float32)}, y, names)
    everything = iris_data()[0]
    cases = {
        "probe": {"input": np.array([PROBE], np.float32)},
        **rows,
        "batch of three": stack(list(rows.values())),
        "smallest measured": {"input": everything.min(axis=0, keepdims=True).astype(np.float32)},
        "largest measured": {"input": everything.max(axis=0, keepdims=True).astype(np.float32)},
        "all zero": {"input": np.zeros((1, 4), np.float32)},
        "far outside": {"input": np.full((1, 4), 1000, np.float32)},
    }
    metadata = {"feature_names": features, "class_names": names}
    doc = f"Species of an iris by four measurements: {kind}."
    proto = graph.model("iris", version, doc, metadata)
    held_out = HeldOut({"input": x.astype(np.float32)}, y)
    return DemoModel("iris", version, proto, card, names, cases, held_out, 0.9)


def iris_input(graph: Graph) -> str:
    """The one input of both iris versions."""
    doc = "sepal length, sepal width, petal length, petal width, each in cm"
    return graph.input("input", TensorProto.FLOAT, [4], doc)


def iris_data() -> tuple[Array, Array, list[str]]:
    """Measurements, classes and the names of the classes."""
    data = datasets.load_iris()
    return data.data, data.target, [str(name) for name in data.target_names]


def digits_1() -> DemoModel:
    """A small convolutional network on handwritten digits."""
    data = datasets.load_digits()
    names = [str(digit) for digit in data.target_names]
    images = data.images[:, None, :, :]
    train_x, test_x, train_y, test_y = split(images, data.target, held_out=450)
    first, first_bias, second, second_bias, weight, bias = train_cnn(train_x / 16, one_hot(train_y))

    graph = Graph()
    doc = "ink per pixel, 0 (blank) to 16 (full); one channel, 8 rows from the top, 8 columns"
    image = graph.input("image", TensorProto.FLOAT, [1, 8, 8], doc)
    full = graph.constant("full_ink", np.array(16, np.float32))
    scaled = graph.node("Div", [image, full], "scaled")
    low = graph.convolution(scaled, coarse(first), coarse(first_bias), "first")
    low = graph.node("Relu", [low], "first_active")
    pooled = graph.node("MaxPool", [low], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    high = graph.convolution(pooled, coarse(second), coarse(second_bias), "second")
    high = graph.node("Relu", [high], "second_active")
    flat = graph.node("Flatten", [high], "flat")
    logits = graph.dense(flat, coarse(weight), coarse(bias), "logits")
    graph.answers(logits, names, spell=False)

    card = Card(
        title="digits, version 1: small convolutional network",
        purpose="Reads one handwritten digit from an image of 8 by 8 pixels.",
        intended_use="""
            Demonstrations and tests of Tidegate with image-shaped tensors. Not for reading
            handwriting that matters to anyone.""",
        data="""
            The digits bundled with scikit-learn (`load_digits`): 1797 images by 13 writers, the
            test part of "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak
            (1998), UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.
            A pixel counts the inked dots in a block of 4 by 4 of a 32 by 32 bitmap. 1347 images
            train and 450 are held out, stratified by digit.""",
        training="""
            Convolution 3x3 (16 channels), ReLU, max pooling 2x2, convolution 3x3 (32 channels),
            ReLU, one dense layer (numpy; Adam, 30 epochs in batches of 64, rate 0.003 falling to
            0 along a cosine, weight decay 0.02, seed 3). Images are divided by 16 inside the
            graph.""",
        limitations="""
            Training and held-out images share their 13 writers, so expect less on other hands.
            Digits must be centred, upright and dark on light as in the data. Pixels outside 0 to
            16 are not refused. There is no class "not a digit": a blank image gets a label too.""",
    )
    rows = one_per_class(
        {"image": test_x.astype(np.float32)}, test_y, [f"digit {name}" for name in names]
    )
    cases = {
        **rows,
        "batch of three": stack(list(rows.values())[:3]),
        "blank": {"image": np.zeros((1, 1, 8, 8), np.float32)},
        "full ink": {"image": np.full((1, 1, 8, 8), 16, np.float32)},
    }
    metadata = {"feature_names": list(data.feature_names), "class_names": names}
    proto = graph.model("digits", 1, "Handwritten digit in an 8 by 8 image.", metadata)
    held_out = HeldOut({"image": test_x.astype(np.float32)}, test_y)
    return DemoModel("digits", 1, proto, card, names, cases, held_out, 0.97)


def wine_1() -> DemoModel:
    """Logistic regression on wine, with one input of its own type and shape for each feature."""
    data = datasets.load_wine()
    names = [str(name) for name in data.target_names]
    train_x, test_x, train_y, test_y = split(data.data, data.target, held_out=59)
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    weight, bias = logistic_regression((train_x - mean) / deviation, train_y)
    weight, bias = fold_standardisation(mean, deviation, weight, bias)

    single, double, whole = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
    # In the order of the data set: name, type, dimensions beside the batch, unit.
    columns: list[tuple[str, int, list[int], str]] = [
        ("alcohol", double, [1], "percent by volume"),
        ("malic_acid", single, [1], "g/l"),
        ("ash", single, [], "g/l"),
        ("alcalinity_of_ash", single, [1], "meq/l"),
        ("magnesium", whole, [1], "mg/l, a whole number"),
        ("total_phenols", single, [1], "g/l"),
        ("flavanoids", double, [], "g/l"),
        ("nonflavanoid_phenols", single, [1], "g/l"),
        ("proanthocyanins", single, [1], "g/l"),
        ("color_intensity", double, [1], "optical density, no unit"),
        ("hue", single, [], "ratio of optical densities, no unit"),
        ("od280_od315_of_diluted_wines", single, [1], "ratio of optical densities, no unit"),
        ("proline", whole, [], "mg/l, a whole number"),
    ]

    def tensors(rows: Array) -> Tensors:
        return {
            name: rows[:, i].astype(helper.tensor_dtype_to_np_dtype(dtype)).reshape(-1, *dims)
            for i, (name, dtype, dims, _) in enumerate(columns)
        }

    graph = Graph()
    one_column = graph.constant("one_column", np.array([-1, 1], np.int64))
    parts = []
    for name, dtype, dims, unit in columns:
        part = graph.input(name, dtype, dims, unit)
        if dtype != single:
            part = graph.node("Cast", [part], f"{name}_single", to=single)
        if not dims:
            part = graph.node("Reshape", [part, one_column], f"{name}_column")
        parts.append(part)
    row = graph.node("Concat", parts, "row", axis=1)
    graph.answers(graph.dense(row, coarse(weight), coarse(bias), "logits"), names, spell=True)

    card = Card(
        title="wine, version 1: logistic regression",
        purpose="""
            Tells by thirteen chemical measurements which of three cultivars of one Italian region
            a wine was made of. Each measurement is an input of its own, of one of three types and
            two shapes; the label is a string.""",
        intended_use="""
            Demonstrations and tests of Tidegate with named inputs of mixed types. Not for judging
            wine.""",
        data="""
            The wine recognition data bundled with scikit-learn (`load_wine`): 178 wines; 119 rows
            train and 59 are held out, stratified by cultivar. S. Aeberhard and M. Forina (1991),
            UCI Machine Learning Repository, https://doi.org/10.24432/C5PC7J, CC BY 4.0. The data
            set names no units; those above are the customary ones for such analyses.""",
        training="""
            Multinomial logistic regression (scikit-learn, L2 penalty with C = 1, Newton's method
            until it converges) on standardised measurements; mean and standard deviation of the
            training rows are folded into the weights. All inputs are cast to FP32 in the graph.""",
        limitations="""
            One region, one laboratory, three anonymous cultivars, 178 bottles. The classes are
            nearly separable, so accuracy says little about harder data. Wines of other origin get
            a confident and meaningless answer.""",
    )
    rows = one_per_class(tensors(test_x), test_y, names)
    cases = {
        **rows,
        "batch of three": stack(list(rows.values())),
        "smallest measured": tensors(data.data.min(axis=0, keepdims=True)),
        "largest measured": tensors(data.data.max(axis=0, keepdims=True)),
        "all zero": tensors(np.zeros((1, 13))),
    }
    proto = graph.model(
        "wine", 1, "Cultivar of a wine by thirteen measurements.", {"class_names": names}
    )
    return DemoModel("wine", 1, proto, card, names, cases, HeldOut(tensors(test_x), test_y), 0.9)


def topics_1() -> DemoModel:
    """A text classifier on the sentences of scikit-learn's descriptions of its data sets."""
    names = ["breast_cancer", "diabetes", "digits", "iris", "wine"]
    texts, topics = description_sentences(names)
    train_texts, test_texts, train_y, test_y = split(texts, topics, held_out=45)
    counted = [set(words(text)) for text in train_texts]
    seen = {word: sum(word in each for each in counted) for word in sorted(set().union(*counted))}
    vocabulary = list(seen)
    rarity = coarse(np.array([1 + math.log(len(counted) / count) for count in seen.values()]))
    train_x = np.array([text_features(text, vocabulary, rarity) for text in train_texts])
    weight, bias = logistic_regression(train_x, train_y, strength=10)

    graph = Graph()
    text = graph.input("text", TensorProto.STRING, [1], "an English sentence in UTF-8")
    any_length = graph.constant("any_length", np.array([-1], np.int64))
    flat = graph.node("Reshape", [text, any_length], "flat_text")
    lower = graph.node(
        "StringNormalizer", [flat], "lower", case_change_action="LOWER", locale="C.UTF-8"
    )
    tokens = graph.node(
        "Tokenizer",
        [lower],
        "tokens",
        domain="com.microsoft",
        mark=0,
        mincharnum=3,
        pad_value="",
        tokenexp=r"\pL{3,}",
    )
    counts = graph.node(
        "TfIdfVectorizer",
        [tokens],
        "weighted_counts",
        mode="TFIDF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=list(range(len(vocabulary))),
        pool_strings=vocabulary,
        weights=rarity.tolist(),
    )
    length = graph.node("ReduceL2", [counts], "length", axes=[1], keepdims=1)
    least = graph.constant("least_length", np.array(1, np.float32))
    divisor = graph.node("Max", [length, least], "divisor")
    features = graph.node("Div", [counts, divisor], "features")
    logits = graph.dense(features, coarse(weight), coarse(bias), "logits")
    graph.answers(logits, names, spell=True)

    card = Card(
        title="topics, version 1: bag of words",
        purpose=f"""
            Guesses which of scikit-learn's data sets an English sentence is about:
            {", ".join(names)}. A model with string tensors on both sides.""",
        intended_use="""
            Demonstrations and tests of Tidegate with BYTES tensors. Not for sorting real text.""",
        data=f"""
            {len(texts)} sentences and list entries of the descriptions (`DESCR`, without their
            references) of five data sets bundled with scikit-learn (BSD-3-Clause; copyright the
            scikit-learn developers), with at least two words each; {len(train_texts)} train and
            {len(test_texts)} are held out, stratified by topic. The model keeps {len(vocabulary)}
            words and their weights, no sentence.""",
        training="""
            Words of three or more letters, in lower case; counts times (1 + log inverse document
            frequency), scaled to at most unit length; multinomial logistic regression
            (scikit-learn, L2 penalty with C = 10, Newton's method until it converges).
            Lower-casing, tokenising and counting are nodes of the graph.""",
        limitations="""
            A toy: few training sentences, many of which fit any topic. The metrics above flatter
            it: which texts to use and the penalty were chosen by cross-validation over all
            sentences, held-out ones too, and this split is a lucky one; twelve other splits of the
            same sizes gave a mean accuracy of 0.61 (0.55 to 0.71). Words it does not know are
            ignored; a text of only such words, or an empty one, gets the answer of the bias alone,
            "breast_cancer", which has the most sentences. Needs an onnxruntime with the contributed
            operators (`com.microsoft` Tokenizer), as all its official packages have, and the
            locale C.UTF-8. A batch of no rows fails in StringNormalizer.""",
    )
    cases = {
        "breast cancer": sentences("The radius and texture of cell nuclei in a breast mass"),
        "diabetes": sentences("Blood pressure and serum level of each patient after one year."),
        "digits": sentences("Bitmaps of handwritten digits, divided into blocks of pixels"),
        "iris": sentences("Is the petal length of this plant listed in Fisher's paper?"),
        "wine": sentences("A chemical analysis of wines from Italy by cultivators"),
        "batch of three, of unequal length": sentences(
            "petal width", "digits of the NIST preprocessing programs", "WINE! Wine, wine; wines..."
        ),
        "empty text": sentences(""),
        "no known word": sentences("zzz 42 ñandú ÄRGER 東京都 🙂"),
        "capitals and signs": sentences("\tHAND-WRITTEN \"DIGITS\"\n"),
    }
    proto = graph.model("topics", 1, "Data set that a sentence is about.", {"class_names": names})
    held_out = HeldOut(sentences(*test_texts), test_y)
    return DemoModel("topics", 1, proto, card, names, cases, held_out, 0.5)


def description_sentences(names: list[str]) -> tuple[Array, Array]:
    """Sentences and entries of the named data sets' descriptions, and the index of each name."""
    texts: list[str] = []
    topics: list[int] = []
    for topic, name in enumerate(names):
        description = getattr(datasets, f"load_{name}")().DESCR.split(".. dropdown:: References")[0]
        parts = re.split(r"(?<=[.!?;:])\s+|\n\s*\n|\n\s*-\s", description)
        entries = dict.fromkeys(" ".join(part.split()) for part in parts)
        kept = [entry for entry in entries if len(words(entry)) >= 2]
        texts.extend(kept)
        topics.extend([topic] * len(kept))
    return np.array(texts, dtype=object), np.array(topics)


def words(text: str) -> list[str]:
    """The words of a text, as the graph's tokeniser finds them."""
    return re.findall(r"[^\W\d_]{3,}", text.lower())


def text_features(text: str, vocabulary: list[str], rarity: Array) -> Array:
    """What the graph computes from a text before its dense layer."""
    found = words(text)
    counts = np.array([found.count(word) for word in vocabulary]) * rarity
    return counts / max(1.0, float(np.linalg.norm(counts)))


def sentences(*texts: str) -> Tensors:
    """A batch of texts as input of the text classifier."""
    return {"text": np.array([[text] for text in texts], dtype=object)}


# Data and training


def split(x: Array, y: Array, held_out: int) -> tuple[Array, Array, Array, Array]:
    """Training and held-out rows, then training and held-out classes, stratified."""
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=held_out, stratify=y, random_state=SPLIT_SEED
    )
    return train_x, test_x, train_y, test_y


def one_hot(classes: Array) -> Array:
    """A row of zeros with a one at the class, for each class."""
    return np.eye(int(classes.max()) + 1)[classes]


def softmax(logits: Array) -> Array:
    """Probabilities of each row."""
    exponents: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Array = exponents.sum(axis=1, keepdims=True)
    return np.divide(exponents, total)


def coarse(weights: Array) -> Array:
    """The weights with 12 significant bits: what another BLAS sums differently is rounded away."""
    fraction, exponent = np.frexp(weights)
    rounded: Array = np.ldexp(np.round(fraction * 4096) / 4096, exponent)
    return rounded.astype(np.float32)


def fold_standardisation(
    mean: Array, deviation: Array, weight: Array, bias: Array
) -> tuple[Array, Array]:
    """Weight and bias for raw rows, from those for `(row - mean) / deviation`."""
    folded = weight / deviation[:, None]
    return folded, bias - mean @ folded


def logistic_regression(x: Array, y: Array, strength: float = 1.0) -> tuple[Array, Array]:
    """Weight (features by classes) and bias of a multinomial logistic regression."""
    fitted = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10).fit(x, y)
    return np.asarray(fitted.coef_.T), np.asarray(fitted.intercept_)


def adam(
    parameters: list[Array],
    gradients: Callable[[list[Array], int], list[Array]],
    steps: int,
    rate: float,
    decay: float,
) -> list[Array]:
    """Adam with decoupled weight decay and a rate that falls to 0 along half a cosine."""
    slow, fast = 0.9, 0.999
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    for step in range(steps):
        now = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        updated = []
        for i, gradient in enumerate(gradients(parameters, step)):
            means[i] = slow * means[i] + (1 - slow) * gradient
            squares[i] = fast * squares[i] + (1 - fast) * gradient * gradient
            mean = means[i] / (1 - slow ** (step + 1))
            square = squares[i] / (1 - fast ** (step + 1))
            change = mean / (np.sqrt(square) + 1e-8) + decay * parameters[i]
            updated.append(parameters[i] - now * change)
        parameters = updated
    return parameters


def train_mlp(x: Array, targets: Array, hidden: int) -> list[Array]:
    """Weights and biases of a network with one hidden layer of ReLUs."""
    random = np.random.default_rng(2)
    start = [
        random.standard_normal((x.shape[1], hidden)) * math.sqrt(2 / x.shape[1]),
        np.zeros(hidden),
        random.standard_normal((hidden, targets.shape[1])) * math.sqrt(1 / hidden),
        np.zeros(targets.shape[1]),
    ]

    def gradients(parameters: list[Array], _step: int) -> list[Array]:
        hidden_weight, hidden_bias, weight, bias = parameters
        active = np.maximum(x @ hidden_weight + hidden_bias, 0)
        error = (softmax(active @ weight + bias) - targets) / len(x)
        back = (error @ weight.T) * (active > 0)
        return [x.T @ back, back.sum(axis=0), active.T @ error, error.sum(axis=0)]

    return adam(start, gradients, steps=400, rate=0.02, decay=0.02)


def train_cnn(images: Array, targets: Array) -> list[Array]:
    """Weights and biases of two convolutions and a dense layer; images of 8 by 8, one channel."""
    random = np.random.default_rng(3)
    start = [
        random.standard_normal((16, 1, 3, 3)) * math.sqrt(2 / 9),
        np.zeros(16),
        random.standard_normal((32, 16, 3, 3)) * math.sqrt(2 / 144),
        np.zeros(32),
        random.standard_normal((512, 10)) * math.sqrt(1 / 512),
        np.zeros(10),
    ]
    epochs, batch = 30, 64
    batches = [
        order[at:at + batch]
        for order in (random.permutation(len(images)) for _ in range(epochs))
        for at in range(0, len(images), batch)
    ]

    def gradients(parameters: list[Array], step: int) -> list[Array]:
        first, first_bias, second, second_bias, weight, bias = parameters
        x, wanted = images[batches[step]], targets[batches[step]]
        n = len(x)
        active = np.maximum(convolve(x, first) + first_bias[:, None, None], 0)
        blocks = active.reshape(n, 16, 4, 2, 4, 2)
        pooled = blocks.max(axis=(3, 5))
        top = np.maximum(convolve(pooled, second) + second_bias[:, None, None], 0)
        flat = top.reshape(n, -1)

        error = (softmax(flat @ weight + bias) - wanted) / n
        top_back = (error @ weight.T).reshape(top.shape) * (top > 0)
        pooled_back = convolve(top_back, second.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        # Equal maxima of a block occur only at 0, where the ReLU stops the gradient anyway.
        chosen = (blocks == pooled[:, :, :, None, :, None]) & (blocks > 0)
        back = (chosen * pooled_back[:, :, :, None, :, None]).reshape(active.shape)
        return [
            kernel_gradient(x, back),
            back.sum(axis=(0, 2, 3)),
            kernel_gradient(pooled, top_back),
            top_back.sum(axis=(0, 2, 3)),
            flat.T @ error,
            error.sum(axis=0),
        ]

    return adam(start, gradients, steps=len(batches), rate=0.003, decay=0.02)


def windows(x: Array) -> Array:
    """The 3 by 3 surroundings of every pixel, zero beyond the edge: n, c, h, w, 3, 3."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))


def convolve(x: Array, kernel: Array) -> Array:
    """A 3 by 3 convolution (as ONNX means it) that keeps height and width."""
    summed: Array = np.tensordot(windows(x), kernel, axes=((1, 4, 5), (1, 2, 3)))
    return summed.transpose(0, 3, 1, 2)


def kernel_gradient(x: Array, back: Array) -> Array:
    """The gradient of `convolve(x, kernel)` by its kernel."""
    return np.tensordot(back, windows(x), axes=((0, 2, 3), (0, 2, 3)))


# Golden cases


def one_per_class(inputs: Tensors, classes: Array, names: list[str]) -> dict[str, Tensors]:
    """The first row of each class, under the class's name."""
    firsts = {name: int(np.argmax(classes == i)) for i, name in enumerate(names)}
    return {
        name: {key: value[row:row + 1] for key, value in inputs.items()}
        for name, row in firsts.items()
    }


def stack(rows: list[Tensors]) -> Tensors:
    """Several inputs as one batch."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def golden(model: DemoModel) -> list[dict[str, Any]]:
    """The content of golden.json: every case with the answers of this model."""
    return [
        {
            "name": name,
            "inputs": [oip_tensor(key, value) for key, value in inputs.items()],
            "outputs": [
                oip_tensor(key, value) for key, value in run(model.proto, inputs).items()
            ],
        }
        for name, inputs in model.cases.items()
    ]


def oip_tensor(name: str, value: Array) -> dict[str, Any]:
    """A tensor as the Open Inference Protocol writes it in JSON, with flat data."""
    datatypes = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "object": "BYTES"}
    # The text of a float32 is its shortest decimal, which a double would not keep by itself.
    data = [float(str(v)) if isinstance(v, np.float32) else v for v in value.flat]
    data = [v.item() if isinstance(v, np.generic) else v for v in data]
    datatype = datatypes[value.dtype.name]
    return {"name": name, "datatype": datatype, "shape": list(value.shape), "data": data}


def array_of(tensor: dict[str, Any]) -> Array:
    """The array that a tensor of golden.json means."""
    dtypes = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}
    return np.array(tensor["data"], dtypes[tensor["datatype"]]).reshape(tensor["shape"])


def golden_text(cases: list[dict[str, Any]]) -> str:
    """golden.json, one line for each tensor."""

    def tensors(values: list[dict[str, Any]]) -> str:
        return ",\n".join(f"      {json.dumps(value, ensure_ascii=False)}" for value in values)

    blocks = [
        f'  {{\n    "name": {json.dumps(case["name"])},\n'
        f'    "inputs": [\n{tensors(case["inputs"])}\n    ],\n'
        f'    "outputs": [\n{tensors(case["outputs"])}\n    ]\n  }}'
        for case in cases
    ]
    return "[\n" + ",\n".join(blocks) + "\n]\n"


def wrong_answers(proto: onnx.ModelProto, cases: list[dict[str, Any]]) -> Iterator[str]:
    """The names of the golden cases that a model does not answer as written."""
    for case in cases:
        answers = run(proto, {t["name"]: array_of(t) for t in case["inputs"]})
        expected = {t["name"]: array_of(t) for t in case["outputs"]}
        same = answers.keys() == expected.keys() and all(
            close(answers[name], expected[name]) for name in answers
        )
        if not same:
            yield case["name"]


def close(a: Array, b: Array) -> bool:
    """Whether two answers agree: floats within tolerance, everything else exactly."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=RTOL, atol=ATOL, equal_nan=True))
    return bool((a == b).all())


# Running and scoring


def run(proto: onnx.ModelProto, inputs: Tensors) -> Tensors:
    """The answers of onnxruntime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def scores(proto: onnx.ModelProto, held_out: HeldOut) -> Scores:
    """The scores of the ONNX model itself, not of what it was made from."""
    probabilities = run(proto, held_out.inputs)["probabilities"].astype(np.float64)
    n, classes = len(held_out.classes), held_out.classes
    likelihood = np.clip(probabilities[np.arange(n), classes], 1e-12, 1)
    targets = np.eye(probabilities.shape[1])[classes]
    return Scores(
        rows=n,
        accuracy=float((probabilities.argmax(axis=1) == classes).mean()),
        log_loss=float(-np.log(likelihood).mean()),
        brier=float(((probabilities - targets) ** 2).sum(axis=1).mean()),
    )


def probe_gap(first: onnx.ModelProto, second: onnx.ModelProto) -> float:
    """The largest difference between two iris versions' probabilities for the probe."""
    probe = {"input": np.array([PROBE], np.float32)}
    answers = [run(proto, probe)["probabilities"] for proto in (first, second)]
    return float(np.abs(answers[0] - answers[1]).max())


# Model cards


def card_text(model: DemoModel, cases: list[dict[str, Any]]) -> str:
    """README.md of a version."""
    card, graph, measured = model.card, model.proto.graph, scores(model.proto, model.held_out)
    low, high = measured.accuracy_interval
    inputs = {"inputs": cases[0]["inputs"]}
    answers = {t["name"]: [short(v) for v in t["data"]] for t in cases[0]["outputs"]}
    sections = {
        "Intended use": paragraph(card.intended_use),
        "Inputs": tensor_table(graph.input) + feature_note(model.proto),
        "Outputs": tensor_table(graph.output),
        "Data and licence": paragraph(card.data)
        + "\n\n"
        + paragraph("The model itself is under this repository's licence, Apache-2.0."),
        "Training": paragraph(card.training)
        + "\n\n"
        + paragraph(
            "Trained in double precision on one thread; the weights keep 12 significant bits."
        ),
        f"Metrics on {measured.rows} held-out rows": "\n".join([
            "| metric | value |",
            "|---|---|",
            f"| accuracy | {measured.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}) |",
            f"| log loss | {measured.log_loss:.3f} |",
            f"| Brier score (sum over classes) | {measured.brier:.3f} |",
        ]),
        "Limitations": paragraph(card.limitations),
        "Rebuild": "\n".join([
            "```sh",
            "pip install -r tests/requirements.txt",
            f"python scripts/make_models.py --only {model.name}",
            "```",
        ]),
        "Example": "\n".join([
            f"The golden case `{cases[0]['name']}`:",
            "",
            "```sh",
            f"curl -s localhost:8000/v2/models/{model.name}/versions/{model.version}/infer \\",
            "  -H 'content-type: application/json' \\",
            f"  -d '{json.dumps(inputs, ensure_ascii=False)}'",
            "```",
            "",
            "\n".join(f"- `{name}`: {json.dumps(value)}" for name, value in answers.items()),
        ]),
    }
    text = f"# {card.title}\n\n{paragraph(card.purpose)}\n"
    return text + "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())


def paragraph(text: str) -> str:
    """The text without its indentation, in lines of at most 100 characters."""
    return fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def short(value: Any) -> Any:
    """A number as a reader wants it."""
    return round(value, 4) if isinstance(value, float) else value


def tensor_table(values: Any) -> str:
    """Name, datatype, shape and meaning of inputs or outputs, as a Markdown table."""
    rows = ["| name | datatype | shape | meaning |", "|---|---|---|---|"]
    for value in values:
        tensor = value.type.tensor_type
        dims = ", ".join(str(d.dim_value or -1) for d in tensor.shape.dim)
        name = TensorProto.DataType.Name(tensor.elem_type)
        datatype = {"FLOAT": "FP32", "DOUBLE": "FP64", "STRING": "BYTES"}.get(name, name)
        rows.append(f"| `{value.name}` | {datatype} | [{dims}] | {value.doc_string} |")
    return "\n".join(rows)


def feature_note(proto: onnx.ModelProto) -> str:
    """Which feature names the model carries, if any."""
    for entry in proto.metadata_props:
        if entry.key == "feature_names":
            names = [f"`{name}`" for name in json.loads(entry.value)]
            listed = ", ".join(names) if len(names) < 10 else f"{names[0]} to {names[-1]}"
            return "\n\n" + paragraph(f"Metadata `feature_names`: {listed}.")
    return ""


# Writing and checking


def build(only: str | None) -> list[DemoModel]:
    """Every version, or those of one model, refusing what breaks a promise of this script."""
    makers = {
        "iris": [iris_1, iris_2],
        "digits": [digits_1],
        "wine": [wine_1],
        "topics": [topics_1],
    }
    models = [make() for name, each in makers.items() if only in (None, name) for make in each]
    if not models:
        raise SystemExit(f"no model is called {only!r}; there are: {', '.join(makers)}")
    for model in models:
        accuracy = scores(model.proto, model.held_out).accuracy
        if accuracy < model.least_accuracy:
            raise SystemExit(f"{model.folder}: accuracy {accuracy:.3f} < {model.least_accuracy}")
        if model.proto.ByteSize() > MAX_BYTES:
            raise SystemExit(f"{model.folder}: {model.proto.ByteSize()} bytes > {MAX_BYTES}")
    return models


def files_of(model: DemoModel) -> dict[str, bytes]:
    """The files of a version folder."""
    cases = golden(model)
    return {
        "model.onnx": model.proto.SerializeToString(deterministic=True),
        "golden.json": golden_text(cases).encode(),
        "README.md": card_text(model, cases).encode(),
    }


def write(models: list[DemoModel], root: Path) -> None:
    """Writes every version below `root`; other files there stay as they are."""
    for model in models:
        folder = root / model.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files_of(model).items():
            (folder / name).write_bytes(content)


def summary(model: DemoModel) -> str:
    """One line on a version."""
    measured = scores(model.proto, model.held_out)
    return (
        f"{model.folder}: accuracy {measured.accuracy:.3f}, log loss {measured.log_loss:.3f}, "
        f"{model.proto.ByteSize()} bytes"
    )


def check(models: list[DemoModel], committed: Path) -> bool:
    """Compares the committed files with a fresh build; prints what it finds."""
    with tempfile.TemporaryDirectory() as scratch:
        write(models, Path(scratch))
        problems = 0
        for model in models:
            for problem in compare(model, committed / model.folder, Path(scratch) / model.folder):
                problems += 1
                print(f"FAILED: {model.folder}: {problem}")
    return problems == 0


def compare(model: DemoModel, committed: Path, rebuilt: Path) -> Iterator[str]:
    """What is wrong with a committed version; mere differences of bytes are printed as notes."""
    names = sorted(file.name for file in rebuilt.iterdir())
    missing = [name for name in names if not (committed / name).is_file()]
    if missing:
        yield f"missing: {', '.join(missing)}"
        return
    for name in names:
        if (rebuilt / name).read_bytes() != (committed / name).read_bytes():
            print(f"note: {model.folder}: {name} differs in bytes from a build on this machine")

    proto = onnx.load(committed / "model.onnx")
    if outline(proto) != outline(model.proto):
        yield "model.onnx has another signature, graph or metadata"
        return
    old, new = (scores(each, model.held_out).accuracy for each in (proto, model.proto))
    if old < model.least_accuracy or abs(old - new) > ACCURACY_SLACK:
        yield f"held-out accuracy is {old:.3f}, rebuilt {new:.3f}, least {model.least_accuracy}"

    cases = json.loads((committed / "golden.json").read_bytes())
    asked = [(case["name"], case["inputs"]) for case in cases]
    if asked != [(case["name"], case["inputs"]) for case in golden(model)]:
        yield "golden.json has other cases or inputs"
    for name in wrong_answers(proto, cases):
        yield f"model.onnx does not answer the golden case {name!r} as written"

    cards = [(folder / "README.md").read_text() for folder in (committed, rebuilt)]
    if len({re.sub(r"\d+(\.\d+)?", "0", card) for card in cards}) > 1:
        yield "README.md has another wording"


def outline(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the values of its weights: all that training cannot change."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for constant in bare.graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            constant.ClearField("raw_data")
    return bare


def check_probe(root: Path) -> bool:
    """Whether the two iris versions below `root` can be told apart by the probe."""
    gap = probe_gap(*(onnx.load(root / "iris" / version / "model.onnx") for version in "12"))
    print(f"{root / 'iris'}: versions differ by {gap:.3f} on the probe {PROBE}")
    return gap > PROBE_GAP


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the demo models.")
    parser.add_argument("--check", action="store_true", help="compare with a fresh build")
    parser.add_argument("--only", metavar="MODEL", help="one model instead of all")
    parser.add_argument("--out", type=Path, default=MODELS, help="default: %(default)s")
    arguments = parser.parse_args()

    with threadpool_limits(limits=1):
        models = build(arguments.only)
        print("\n".join(summary(model) for model in models))
        good = True
        if arguments.check:
            good = check(models, arguments.out)
        else:
            write(models, arguments.out)
        if arguments.only in (None, "iris"):
            good = check_probe(arguments.out) and good
    print("ok" if good else "failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
