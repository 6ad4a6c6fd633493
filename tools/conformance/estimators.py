"""Do we and ONNX Runtime agree on fitted estimators of scikit-learn, LightGBM and XGBoost?

usage: python tools/conformance/estimators.py --ours PATH/onnx-run [--only TEXT] [--list]
                                              [--keep DIR] [--tolerance 1e-5]
needs: pip install numpy pandas scikit-learn lightgbm xgboost skl2onnx onnxmltools onnxruntime

Fits well over a hundred estimators on small data sets made here (trees, forests, boosting, support vector
machines, linear models, neighbours, mixtures, naive Bayes, networks, encoders, scalers, imputers,
vectorizers of text, pipelines with strings), converts them to ONNX, and runs each as
`onnx-run run MODEL --inputs FOLDER --outputs FOLDER` (the files of ONNX's test data: TensorProto,
MapProto, SequenceProto) and in ONNX Runtime. Labels, texts, integers, keys, types and shapes must be
equal, and scores may differ by the tolerance times the larger of 1 and the score's size.

Printed is a line for each estimator: its operators of `ai.onnx.ml`, the largest difference, and what
went wrong. Estimators that the converters or ONNX Runtime refuse are listed apart and do not count.
An estimator whose model holds operators of another domain than ai.onnx and ai.onnx.ml says so.
Exit code 1 if any differs or does not run, or fewer than 60 could be compared.

--only TEXT   only estimators whose name contains TEXT
--keep DIR    keeps models, inputs and both results there, a folder an estimator
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

warnings.filterwarnings("ignore")
onnxruntime.set_default_logger_severity(4)
LEAST = 60
rng = np.random.default_rng(7)


make_attribute = onnx.helper.make_attribute


def with_integers(key, value, *rest, **more):
    """skl2onnx lists booleans, which newer protobuf refuses as integers."""
    if isinstance(value, (list, np.ndarray)) and any(isinstance(v, (bool, np.bool_)) for v in value):
        value = [int(v) for v in value]
    return make_attribute(key, value, *rest, **more)


onnx.helper.make_attribute = with_integers


def numbers(rows=150, columns=5):
    return rng.normal(size=(rows, columns)).astype(np.float32)


X = numbers()
NOISE = rng.normal(scale=0.3, size=len(X))
TWO = (X[:, 0] + X[:, 1] * X[:, 2] + NOISE > 0).astype(np.int64)
THREE = np.digitize(X[:, 0] + 0.5 * X[:, 1] + NOISE, [-0.6, 0.6]).astype(np.int64)
WORDS = np.array(["low", "middle", "top"])[THREE]
VALUES = (X[:, 0] * 2 - X[:, 1] + X[:, 2] ** 2 + NOISE).astype(np.float32)
PAIR = np.stack([VALUES, X[:, 3] - VALUES], 1)
COUNTS = rng.poisson(2, size=X.shape).astype(np.float32)
HOLES = np.where(rng.random(X.shape) < 0.15, np.nan, X).astype(np.float32)
CATEGORIES = np.stack([rng.choice(["red", "green", "blau", "größe"], len(X)), rng.choice(["s", "m", "l"], len(X))], 1)
TEXTS = np.array(["the cat sat on the mat", "a dog and a cat", "the bird flew over the house", "dogs chase cats",
                  "a house for a bird", "the mat was red", "no words here", "cat cat dog"] * 6)
TEXT_CLASS = np.array([0, 1, 2, 1, 2, 0, 2, 1] * 6)


class Entry:
    """An estimator, what it is fitted on, and what it is asked."""

    def __init__(self, name, make, x, y=None, ask=None, types=None, options=None, opset=None):
        self.name, self.make, self.x, self.y = name, make, x, y
        self.ask = x[:40] if ask is None and x is not None else ask
        self.types, self.options, self.opset = types, options, opset


def entries():
    import lightgbm
    import xgboost
    from sklearn import (calibration, cluster, compose, cross_decomposition, decomposition, discriminant_analysis,
                         ensemble, feature_extraction, feature_selection, gaussian_process, impute, linear_model,
                         mixture, multiclass, multioutput, naive_bayes, neighbors, neural_network,
                         pipeline, preprocessing, svm, tree)
    text = feature_extraction.text
    flat = {"zipmap": False}
    rows = []

    def add(name, make, *args, **more):
        rows.append(Entry(name, make, *args, **more))

    def classifier(name, make, x=X, **more):
        add(f"{name}, 2 classes", make, x, TWO, **more)
        add(f"{name}, 3 named classes", make, x, WORDS, options=flat, **more)

    def regressor(name, make, x=X, y=VALUES, **more):
        add(name, make, x, y, **more)

    few = {"n_estimators": 15, "random_state": 0}
    # Trees.
    classifier("DecisionTreeClassifier", lambda: tree.DecisionTreeClassifier(max_depth=6, random_state=0))
    classifier("ExtraTreeClassifier", lambda: tree.ExtraTreeClassifier(random_state=0))
    classifier("RandomForestClassifier", lambda: ensemble.RandomForestClassifier(**few))
    classifier("ExtraTreesClassifier", lambda: ensemble.ExtraTreesClassifier(**few))
    classifier("GradientBoostingClassifier", lambda: ensemble.GradientBoostingClassifier(**few))
    classifier("HistGradientBoostingClassifier", lambda: ensemble.HistGradientBoostingClassifier(max_iter=15), x=HOLES)
    classifier("AdaBoostClassifier", lambda: ensemble.AdaBoostClassifier(n_estimators=8, random_state=0))
    classifier("BaggingClassifier", lambda: ensemble.BaggingClassifier(n_estimators=6, random_state=0))
    regressor("DecisionTreeRegressor", lambda: tree.DecisionTreeRegressor(max_depth=6, random_state=0))
    regressor("DecisionTreeRegressor, 2 targets", lambda: tree.DecisionTreeRegressor(random_state=0), y=PAIR)
    regressor("ExtraTreeRegressor", lambda: tree.ExtraTreeRegressor(random_state=0))
    regressor("RandomForestRegressor", lambda: ensemble.RandomForestRegressor(**few))
    regressor("RandomForestRegressor, 2 targets", lambda: ensemble.RandomForestRegressor(**few), y=PAIR)
    add("RandomForestClassifier, double", lambda: ensemble.RandomForestClassifier(**few), X.astype(np.float64), THREE)
    regressor("ExtraTreesRegressor", lambda: ensemble.ExtraTreesRegressor(**few))
    regressor("GradientBoostingRegressor", lambda: ensemble.GradientBoostingRegressor(**few))
    regressor("HistGradientBoostingRegressor", lambda: ensemble.HistGradientBoostingRegressor(max_iter=15), x=HOLES)
    regressor("AdaBoostRegressor", lambda: ensemble.AdaBoostRegressor(n_estimators=8, random_state=0))
    regressor("BaggingRegressor", lambda: ensemble.BaggingRegressor(n_estimators=6, random_state=0))
    add("IsolationForest", lambda: ensemble.IsolationForest(**few), X, opset=18)
    # Boosting libraries.
    quiet = {"n_estimators": 12, "verbose": -1, "min_child_samples": 4}
    classifier("LGBMClassifier", lambda: lightgbm.LGBMClassifier(**quiet), x=HOLES)
    regressor("LGBMRegressor", lambda: lightgbm.LGBMRegressor(**quiet), x=HOLES)
    regressor("LGBMRegressor, poisson", lambda: lightgbm.LGBMRegressor(objective="poisson", **quiet), y=np.abs(VALUES))
    add("LGBMClassifier, random forest", lambda: lightgbm.LGBMClassifier(
        boosting_type="rf", bagging_freq=1, bagging_fraction=0.8, **quiet), X, TWO)
    add("XGBClassifier, 2 classes", lambda: xgboost.XGBClassifier(n_estimators=12, max_depth=4), X, TWO)
    add("XGBClassifier, 3 classes", lambda: xgboost.XGBClassifier(n_estimators=12, max_depth=4), HOLES, THREE)
    add("XGBClassifier, missing", lambda: xgboost.XGBClassifier(n_estimators=12, max_depth=4), HOLES, TWO, options=flat)
    regressor("XGBRegressor", lambda: xgboost.XGBRegressor(n_estimators=12, max_depth=4), x=HOLES)
    regressor("XGBRegressor, poisson", lambda: xgboost.XGBRegressor(n_estimators=12, objective="count:poisson"),
              y=np.abs(VALUES))
    regressor("XGBRFRegressor", lambda: xgboost.XGBRFRegressor(n_estimators=12, max_depth=4))
    # Support vectors.
    for kernel in ["rbf", "linear", "poly", "sigmoid"]:
        classifier(f"SVC {kernel}", lambda k=kernel: svm.SVC(kernel=k))
        classifier(f"SVC {kernel}, probability", lambda k=kernel: svm.SVC(kernel=k, probability=True, random_state=0))
        regressor(f"SVR {kernel}", lambda k=kernel: svm.SVR(kernel=k))
    classifier("NuSVC", lambda: svm.NuSVC(nu=0.3))
    classifier("LinearSVC", lambda: svm.LinearSVC(random_state=0))
    regressor("NuSVR", lambda: svm.NuSVR())
    regressor("LinearSVR", lambda: svm.LinearSVR(random_state=0))
    add("OneClassSVM", lambda: svm.OneClassSVM(nu=0.2), X)
    # Linear models.
    classifier("LogisticRegression", lambda: linear_model.LogisticRegression())
    classifier("LogisticRegressionCV", lambda: linear_model.LogisticRegressionCV(Cs=3, cv=2))
    classifier("RidgeClassifier", lambda: linear_model.RidgeClassifier())
    classifier("SGDClassifier", lambda: linear_model.SGDClassifier(random_state=0))
    classifier("SGDClassifier, log loss", lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0))
    classifier("SGDClassifier, huber", lambda: linear_model.SGDClassifier(loss="modified_huber", random_state=0))
    classifier("Perceptron", lambda: linear_model.Perceptron(random_state=0))
    add("LogisticRegression, integers", lambda: linear_model.LogisticRegression(), COUNTS.astype(np.int64), THREE)
    for make in [linear_model.LinearRegression, linear_model.Ridge, linear_model.Lasso, linear_model.ElasticNet,
                 linear_model.Lars, linear_model.LassoLars, linear_model.BayesianRidge, linear_model.ARDRegression,
                 linear_model.HuberRegressor, linear_model.OrthogonalMatchingPursuit, linear_model.SGDRegressor,
                 linear_model.TheilSenRegressor, linear_model.QuantileRegressor]:
        regressor(make.__name__, make)
    regressor("LinearRegression, 2 targets", linear_model.LinearRegression, y=PAIR)
    regressor("PoissonRegressor", linear_model.PoissonRegressor, y=np.abs(VALUES))
    regressor("GammaRegressor", linear_model.GammaRegressor, y=np.abs(VALUES) + 0.1)
    regressor("TweedieRegressor", linear_model.TweedieRegressor)
    regressor("RANSACRegressor", lambda: linear_model.RANSACRegressor(random_state=0))
    # Neighbours, mixtures, naive Bayes, discriminants, networks, processes, clusters.
    classifier("KNeighborsClassifier", lambda: neighbors.KNeighborsClassifier(3))
    regressor("KNeighborsRegressor", lambda: neighbors.KNeighborsRegressor(3))
    regressor("KNeighborsRegressor, manhattan, weighted",
              lambda: neighbors.KNeighborsRegressor(3, weights="distance", metric="manhattan"))
    classifier("RadiusNeighborsClassifier", lambda: neighbors.RadiusNeighborsClassifier(5.0))
    add("NearestNeighbors", lambda: neighbors.NearestNeighbors(n_neighbors=3, radius=None), X)
    for kind in ["full", "tied", "diag", "spherical"]:
        add(f"GaussianMixture {kind}", lambda k=kind: mixture.GaussianMixture(2, covariance_type=k, random_state=0), X)
    add("BayesianGaussianMixture", lambda: mixture.BayesianGaussianMixture(n_components=2, random_state=0), X)
    classifier("GaussianNB", naive_bayes.GaussianNB)
    classifier("MultinomialNB", naive_bayes.MultinomialNB, x=COUNTS)
    classifier("BernoulliNB", naive_bayes.BernoulliNB)
    classifier("ComplementNB", naive_bayes.ComplementNB, x=COUNTS)
    classifier("CategoricalNB", naive_bayes.CategoricalNB, x=COUNTS.clip(0, 4).astype(np.int64))
    classifier("LinearDiscriminantAnalysis", discriminant_analysis.LinearDiscriminantAnalysis)
    classifier("QuadraticDiscriminantAnalysis", discriminant_analysis.QuadraticDiscriminantAnalysis)
    classifier("MLPClassifier", lambda: neural_network.MLPClassifier((8,), max_iter=60, random_state=0))
    regressor("MLPRegressor", lambda: neural_network.MLPRegressor(hidden_layer_sizes=(8, 4), max_iter=60, random_state=0))
    regressor("GaussianProcessRegressor", lambda: gaussian_process.GaussianProcessRegressor(alpha=1.0),
              x=X.astype(np.float64))
    add("GaussianProcessClassifier", lambda: gaussian_process.GaussianProcessClassifier(), X, TWO)
    add("KMeans", lambda: cluster.KMeans(3, n_init=2, random_state=0), X)
    add("MiniBatchKMeans", lambda: cluster.MiniBatchKMeans(3, n_init=2, random_state=0), X)
    # Estimators of estimators.
    logistic = linear_model.LogisticRegression
    classifier("VotingClassifier", lambda: ensemble.VotingClassifier(
        [("a", logistic()), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))], voting="soft",
        flatten_transform=False))
    classifier("VotingClassifier, hard", lambda: ensemble.VotingClassifier(
        [("a", logistic()), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))], flatten_transform=False))
    classifier("StackingClassifier", lambda: ensemble.StackingClassifier(
        [("a", logistic()), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))]))
    classifier("OneVsRestClassifier", lambda: multiclass.OneVsRestClassifier(logistic()))
    classifier("OneVsOneClassifier", lambda: multiclass.OneVsOneClassifier(logistic()))
    classifier("CalibratedClassifierCV", lambda: calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2))
    classifier("CalibratedClassifierCV, isotonic", lambda: calibration.CalibratedClassifierCV(
        logistic(), method="isotonic", cv=2))
    add("MultiOutputClassifier", lambda: multioutput.MultiOutputClassifier(logistic()), X, np.stack([TWO, THREE], 1),
        options=flat)
    regressor("MultiOutputRegressor", lambda: multioutput.MultiOutputRegressor(svm.SVR()), y=PAIR)
    regressor("VotingRegressor", lambda: ensemble.VotingRegressor(
        [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]))
    regressor("StackingRegressor", lambda: ensemble.StackingRegressor(
        [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]))
    regressor("PLSRegression", lambda: cross_decomposition.PLSRegression(2))
    # Transformers of numbers.
    for norm in ["l1", "l2", "max"]:
        add(f"Normalizer {norm}", lambda n=norm: preprocessing.Normalizer(n), X)
    for make in [preprocessing.StandardScaler, preprocessing.MinMaxScaler, preprocessing.MaxAbsScaler,
                 preprocessing.RobustScaler, preprocessing.PowerTransformer, preprocessing.PolynomialFeatures,
                 preprocessing.Binarizer, preprocessing.KernelCenterer, feature_selection.VarianceThreshold]:
        add(make.__name__, make, X if make is not preprocessing.KernelCenterer else X[:5, :5])
    add("StandardScaler, double", preprocessing.StandardScaler, X.astype(np.float64) + 1000)
    add("StandardScaler, integers", preprocessing.StandardScaler, COUNTS.astype(np.int64))
    add("QuantileTransformer", lambda: preprocessing.QuantileTransformer(n_quantiles=20), X)
    for encode in ["onehot-dense", "ordinal"]:
        add(f"KBinsDiscretizer {encode}", lambda e=encode: preprocessing.KBinsDiscretizer(4, encode=e), X)
    add("SelectKBest", lambda: feature_selection.SelectKBest(k=3), X, TWO)
    add("PCA", lambda: decomposition.PCA(3), X)
    add("IncrementalPCA", lambda: decomposition.IncrementalPCA(3), X)
    add("KernelPCA", lambda: decomposition.KernelPCA(3, kernel="rbf"), X)
    add("TruncatedSVD", lambda: decomposition.TruncatedSVD(3, random_state=0), X)
    add("GaussianRandomProjection", lambda: __import__("sklearn.random_projection").random_projection
        .GaussianRandomProjection(3, random_state=0), X)
    # Missing values and categories.
    for strategy in ["mean", "median", "most_frequent", "constant"]:
        add(f"SimpleImputer {strategy}", lambda s=strategy: impute.SimpleImputer(strategy=s), HOLES)
    add("SimpleImputer, texts", lambda: impute.SimpleImputer(missing_values="", strategy="most_frequent"),
        np.where(CATEGORIES == "s", "", CATEGORIES).astype(object))
    add("KNNImputer", lambda: impute.KNNImputer(n_neighbors=2), HOLES)
    add("OrdinalEncoder, texts", preprocessing.OrdinalEncoder, CATEGORIES.astype(object))
    add("OrdinalEncoder, integers", preprocessing.OrdinalEncoder, COUNTS.astype(np.int64))
    add("OrdinalEncoder, unknown", lambda: preprocessing.OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1), CATEGORIES.astype(object),
        ask=np.array([["red", "s"], ["?", "m"]], object))
    add("OneHotEncoder, texts", lambda: preprocessing.OneHotEncoder(sparse_output=False), CATEGORIES.astype(object))
    add("OneHotEncoder, integers", lambda: preprocessing.OneHotEncoder(sparse_output=False), COUNTS.astype(np.int64))
    add("OneHotEncoder, unknown", lambda: preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        CATEGORIES.astype(object), ask=np.array([["red", "s"], ["?", "m"]], object))
    add("TargetEncoder", lambda: preprocessing.TargetEncoder(), CATEGORIES.astype(object), TWO)
    add("LabelEncoder, texts", preprocessing.LabelEncoder, CATEGORIES[:, 0].astype(object))
    add("LabelEncoder, integers", preprocessing.LabelEncoder, THREE + 3)
    add("LabelBinarizer", preprocessing.LabelBinarizer, THREE)
    # Vectorizers.
    add("CountVectorizer", text.CountVectorizer, TEXTS.astype(object))
    add("CountVectorizer, pairs", lambda: text.CountVectorizer(ngram_range=(1, 2)), TEXTS.astype(object))
    add("TfidfVectorizer", text.TfidfVectorizer, TEXTS.astype(object))
    add("TfidfVectorizer, stop words", lambda: text.TfidfVectorizer(stop_words=["the", "a"], lowercase=True),
        TEXTS.astype(object))
    add("TfidfTransformer", text.TfidfTransformer, COUNTS)
    add("DictVectorizer", lambda: feature_extraction.DictVectorizer(sparse=False),
        [{"a": 1.0, "b": 2.0}, {"b": 3.0, "größe": 4.0}], ask={"b": 5.0, "größe": 1.5}, types="dictionary")
    # Pipelines.
    add("Pipeline of texts", lambda: pipeline.make_pipeline(text.TfidfVectorizer(), logistic()), TEXTS.astype(object),
        TEXT_CLASS)
    add("Pipeline of scaler and SVC", lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC()), X, THREE)
    add("Pipeline of imputer and forest", lambda: pipeline.make_pipeline(
        impute.SimpleImputer(), ensemble.RandomForestClassifier(**few)), HOLES, WORDS)
    add("Pipeline of categories", lambda: pipeline.make_pipeline(
        preprocessing.OneHotEncoder(handle_unknown="ignore"), logistic()), CATEGORIES.astype(object), WORDS)
    add("FeatureUnion", lambda: pipeline.make_union(preprocessing.StandardScaler(), decomposition.PCA(2)), X)
    add("ColumnTransformer", lambda: pipeline.make_pipeline(
        compose.ColumnTransformer([("scaled", preprocessing.StandardScaler(), [0, 1]),
                                   ("binned", preprocessing.KBinsDiscretizer(3, encode="onehot-dense"), [2, 3])]),
        tree.DecisionTreeClassifier(max_depth=4, random_state=0)), X, THREE)
    add("ColumnTransformer of numbers and strings", lambda: pipeline.make_pipeline(
        compose.ColumnTransformer([("numbers", preprocessing.StandardScaler(), ["x0", "x1"]),
                                   ("words", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["c0", "c1"])]),
        logistic()), None, WORDS, types="frame")
    return rows


def frame():
    """The columns of the pipeline that takes each as an input of its own."""
    columns = {"x0": X[:, :1], "x1": X[:, 1:2], "c0": CATEGORIES[:, :1].astype(object), "c1": CATEGORIES[:, 1:].astype(object)}

    class Frame(dict):
        """As much of a data frame as scikit-learn asks for."""
    return Frame(columns)


def convert(entry):
    """The model and its inputs by name."""
    from skl2onnx import convert_sklearn, update_registered_converter
    from skl2onnx.common import data_types as types
    from skl2onnx.common.shape_calculator import (calculate_linear_classifier_output_shapes,
                                                  calculate_linear_regressor_output_shapes)

    def kind(array, width):
        of = {"f": types.FloatTensorType, "d": types.DoubleTensorType, "l": types.Int64TensorType}
        return of.get(array.dtype.char, types.StringTensorType)([None] + width)

    estimator = entry.make()
    if entry.types == "frame":
        import pandas
        columns = frame()
        estimator.fit(pandas.DataFrame({n: c[:, 0] for n, c in columns.items()}), entry.y)
        given = {name: column[:40] for name, column in columns.items()}
        initial = [(name, kind(column, [1])) for name, column in columns.items()]
    elif entry.types == "dictionary":
        estimator.fit(entry.x)
        given = {"X": entry.ask}
        initial = [("X", types.DictionaryType(types.StringTensorType([1]), types.FloatTensorType([1])))]
    else:
        estimator.fit(*(part for part in (entry.x, entry.y) if part is not None))
        given = {"X": entry.ask}
        initial = [("X", kind(entry.ask, list(entry.ask.shape[1:])))]
    if hasattr(estimator, "_baseline_prediction"):
        # skl2onnx writes it as a list of numbers and is given a matrix.
        estimator._baseline_prediction = np.ravel(estimator._baseline_prediction)
    family = type(estimator).__module__.split(".")[0]
    if family in ("lightgbm", "xgboost") and not hasattr(estimator, "predict_proba"):
        import onnxmltools
        from onnxmltools.convert.common import data_types
        initial = [("X", data_types.FloatTensorType([None, entry.ask.shape[1]]))]
        of = {"lightgbm": onnxmltools.convert_lightgbm, "xgboost": onnxmltools.convert_xgboost}[family]
        return of(estimator, initial_types=initial, target_opset=15), given
    if family in ("lightgbm", "xgboost"):
        if family == "lightgbm":
            from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as operator
        else:
            from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as operator
        is_classifier = hasattr(estimator, "predict_proba")
        update_registered_converter(
            type(estimator), family + type(estimator).__name__,
            calculate_linear_classifier_output_shapes if is_classifier else calculate_linear_regressor_output_shapes,
            operator, options={"nocl": [True, False], "zipmap": [True, False, "columns"], "split": None},
            overwrite=True)
    options = {id(estimator): entry.options} if entry.options and hasattr(estimator, "predict_proba") else None
    opset = {"": entry.opset or 18, "ai.onnx.ml": 3}
    model = convert_sklearn(estimator, initial_types=initial, target_opset=opset, options=options)
    for node in model.graph.node:
        # ONNX Runtime wants the locale en_US otherwise, which few containers have.
        if node.op_type == "StringNormalizer" and all(a.name != "locale" for a in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("locale", "C.UTF-8"))
    return model, given


def tensor_of(value):
    if value.dtype.kind in "OUS":
        return onnx.helper.make_tensor("", TensorProto.STRING, value.shape, [str(v).encode() for v in value.ravel()])
    return numpy_helper.from_array(value)


def proto_of(value):
    if isinstance(value, dict):
        proto = onnx.MapProto(key_type=TensorProto.STRING, string_keys=[k.encode() for k in value])
        proto.values.elem_type = onnx.SequenceProto.TENSOR
        proto.values.tensor_values.extend(numpy_helper.from_array(np.float32(v).reshape(())) for v in value.values())
        return proto
    return tensor_of(value)


def sequence_of(proto):
    if proto.map_values:
        return [{key: float(numpy_helper.to_array(value)) for key, value in
                 zip([k.decode() for k in item.string_keys] or list(item.keys), item.values.tensor_values)}
                for item in proto.map_values]
    return [numpy_helper.to_array(item) for item in proto.tensor_values]


def read(path, ty):
    data = path.read_bytes()
    if ty.startswith("seq"):
        return sequence_of(onnx.SequenceProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def difference(a, b):
    """The largest difference of two outputs, or what is wrong."""
    if isinstance(b, list):
        if len(a) != len(b):
            return f"{len(a)} items, expected {len(b)}"
        found = [difference(x, y) for x, y in zip(a, b)]
        return next((f for f in found if isinstance(f, str)), max(found, default=0.0))
    if isinstance(b, dict):
        if list(a) != list(b):
            return f"keys {list(a)}, expected {list(b)}"
        return difference(np.array(list(a.values())), np.array(list(b.values())))
    if a.shape != b.shape:
        return f"shape {list(a.shape)}, expected {list(b.shape)}"
    if b.dtype.kind in "OUS":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in a.ravel()]
        return 0.0 if texts == [str(v) for v in b.ravel()] else "texts differ"
    if a.dtype != b.dtype:
        return f"type {a.dtype}, expected {b.dtype}"
    if b.dtype.kind in "iub":
        return 0.0 if (a == b).all() else f"{int((a != b).sum())} of {b.size} integers differ"
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0, np.abs(a - b) / np.maximum(1, np.abs(b)))
    worst = float(apart.max(initial=0.0))
    return "NaN where a number is expected, or the other way" if np.isnan(worst) else worst


def compare(entry, args, work):
    """(state, detail, operators): state is one of ok, DIFFERS, FAILS, skipped."""
    try:
        model, given = convert(entry)
        operators = {(n.domain, n.op_type) for n in model.graph.node}
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, given)
    except Exception as error:  # the converter's or the runtime's refusal, whatever it is
        return "skipped", f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100] if str(error) else ''}", set()
    folder = work / "".join(c if c.isalnum() else "_" for c in entry.name)
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    for i, info in enumerate(session.get_inputs()):
        (folder / "inputs" / f"input_{i}.pb").write_bytes(proto_of(given[info.name]).SerializeToString())
    command = [args.ours, "run", folder / "model.onnx", "--inputs", folder / "inputs", "--outputs", folder / "outputs"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        return "FAILS", " ".join(done.stderr.split())[:300], operators
    worst, wrong = 0.0, []
    for i, (info, b) in enumerate(zip(session.get_outputs(), expected)):
        found = difference(read(folder / "outputs" / f"output_{i}.pb", info.type), b)
        if isinstance(found, str):
            wrong.append(f"{info.name}: {found}")
        else:
            worst = max(worst, found)
            if found > args.tolerance:
                wrong.append(f"{info.name}: differs by {found:.1e}")
    return ("DIFFERS", "; ".join(wrong), operators) if wrong else ("ok", f"{worst:.1e}", operators)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required="--list" not in sys.argv)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    args = parser.parse_args()
    chosen = [e for e in entries() if args.only.lower() in e.name.lower()]
    if args.list:
        print("\n".join(e.name for e in chosen))
        return 0
    work = pathlib.Path(args.keep or tempfile.mkdtemp())
    width = max((len(e.name) for e in chosen), default=0)
    counts, skipped, foreign = {}, [], {}
    for entry in chosen:
        state, detail, operators = compare(entry, args, work)
        counts[state] = counts.get(state, 0) + 1
        if state == "skipped":
            skipped.append(f"{entry.name}: {detail}")
            continue
        own = ", ".join(sorted(name for domain, name in operators if domain == "ai.onnx.ml"))
        other = sorted(f"{domain}.{name}" for domain, name in operators if domain not in ("", "ai.onnx", "ai.onnx.ml"))
        foreign.update({entry.name: other} if other else {})
        print(f"{entry.name:{width}}  {state:7}  {detail}  [{own}]{' needs ' + ', '.join(other) if other else ''}", flush=True)
    for title, lines in [("not converted, or refused by ONNX Runtime", skipped),
                         ("with operators of other domains", [f"{n}: {', '.join(o)}" for n, o in foreign.items()])]:
        if lines:
            print(f"\n{title} ({len(lines)}):\n  " + "\n  ".join(lines))
    print("\n" + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
    if not args.keep:
        shutil.rmtree(work, ignore_errors=True)
    compared = len(chosen) - len(skipped)
    if not args.only and compared < LEAST:
        print(f"only {compared} could be compared, at least {LEAST} are wanted")
        return 1
    return 1 if counts.get("DIFFERS") or counts.get("FAILS") else 0


if __name__ == "__main__":
    sys.exit(main())
