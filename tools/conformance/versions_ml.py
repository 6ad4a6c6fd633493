"""Cases of versions.py for operators of ai.onnx.ml, with values from NumPy, SciPy and scikit-learn.

Where documentation and implementations part (a score of only one sign in Normalizer, the scores of a
binary SVMClassifier, the rank of DictVectorizer's output) the cases keep to what both say.
"""
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from scipy import special
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from versions_by_hand import F32, Case, numbers, strings


def ml(operator, version, label, inputs, outputs, unread=0, after=(), **attributes):
    return Case(operator, version, label, inputs, outputs, domain="ai.onnx.ml", attributes=attributes,
                unread=unread, after=after, opset=13 if after else None)


def cases():
    return [*maps(), *labels(), *features(), *linear(), *support_vectors(), *classifiers(), *regressors()]


def maps():
    yield ml("CastMap", 1, "dense_to_float", [{5: F32(1.5), 1: F32(-2), 3: F32(0)}],
             [np.array([[-2, 0, 1.5]], F32)])
    yield ml("CastMap", 1, "sparse_to_int64", [{0: F32(3), 2: F32(7)}], [np.array([[3, 0, 7, 0]])],
             map_form="SPARSE", max_map=4, cast_to="TO_INT64")
    yield ml("CastMap", 1, "text_to_float", [{2: "1.25", 7: "-3"}], [np.array([[1.25, -3]], F32)])
    yield ml("CastMap", 1, "text_to_text", [{2: "b", 1: "a"}], [strings("a", "b").reshape(1, 2)], cast_to="TO_STRING")
    line = numpy_helper.from_array(np.array([-1]))
    flat = [helper.make_node("Constant", [], ["line"], value=line),
            helper.make_node("Reshape", ["r0", "line"], ["y0"])]
    yield ml("DictVectorizer", 1, "text_keys", [{"a": np.int64(4), "c": np.int64(8)}], [np.array([4, 8, 0, 0])],
             string_vocabulary=["a", "c", "b", "z"], after=flat)
    yield ml("DictVectorizer", 1, "integer_keys", [{30: F32(0.5), 10: F32(-1)}], [np.array([-1, 0, 0.5], F32)],
             int64_vocabulary=[10, 20, 30], after=flat)
    scores = numbers(2, 3)
    for label, attribute, keys in [("text_keys", "classlabels_strings", ["x", "y", "z"]),
                                   ("integer_keys", "classlabels_int64s", [10, 20, 30])]:
        yield ml("ZipMap", 1, label, [scores], [[dict(zip(keys, row)) for row in scores]], **{attribute: keys})


def labels():
    words, codes = ["cat", "dog", "cow"], [3, -1, 7]
    yield ml("CategoryMapper", 1, "to_int64", [strings("dog", "cow", "ant", "cat").reshape(2, 2)],
             [np.array([[-1, 7], [99, 3]])], cats_strings=words, cats_int64s=codes, default_int64=99)
    yield ml("CategoryMapper", 1, "to_string", [np.array([7, 3, 5])], [strings("cow", "cat", "none")],
             cats_strings=words, cats_int64s=codes, default_string="none")
    yield ml("CategoryMapper", 1, "defaults", [strings("ant", "dog")], [np.array([-1, 1])],
             cats_strings=words, cats_int64s=[0, 1, 2])
    yield ml("LabelEncoder", 1, "to_int64", [strings("dog", "ant", "cat")], [np.array([1, -5, 0])],
             classes_strings=words, default_int64=-5)
    yield ml("LabelEncoder", 1, "to_string", [np.array([[2, 0], [3, 1]])],
             [strings("cow", "cat", "none", "dog").reshape(2, 2)], classes_strings=words, default_string="none")
    yield ml("LabelEncoder", 1, "defaults", [strings("cow", "ant")], [np.array([2, -1])], classes_strings=words)
    keys = {"keys_int64s": [1, 2, 3], "values_floats": [0.5, -1.5, 2.0]}
    yield ml("LabelEncoder", 2, "int64_to_float", [np.array([3, 1, 4])], [np.array([2, 0.5, -7], F32)],
             default_float=-7.0, **keys)
    yield ml("LabelEncoder", 2, "string_to_string", [strings("a", "c")], [strings("one", "_Unused")],
             keys_strings=["a", "b"], values_strings=["one", "two"])
    one = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], F32)
    yield ml("OneHotEncoder", 1, "int64", [np.array([9, 4, 8])], [one], cats_int64s=[4, 5, 9])
    yield ml("OneHotEncoder", 1, "string", [strings("c", "a", "d").reshape(3, 1)], [one.reshape(3, 1, 3)],
             cats_strings=["a", "b", "c"], zeros=1)
    yield ml("OneHotEncoder", 1, "float", [np.array([5, 4], F32)], [np.array([[0, 1, 0], [1, 0, 0]], F32)],
             cats_int64s=[4, 5, 9], zeros=0)


def features():
    a, b = numbers(2, 3), numbers(2, 1, seed=1)
    yield ml("FeatureVectorizer", 1, "float", [a, b], [np.concatenate([a, b], 1)], inputdimensions=[3, 1])
    c, d = np.array([[1, 2]]), np.array([[-3]])
    yield ml("FeatureVectorizer", 1, "int64", [c, d], [np.array([[1, 2, -3]], F32)], inputdimensions=[2, 1])
    holes = np.array([[1, np.nan, 3], [np.nan, 5, np.nan]], F32)
    yield ml("Imputer", 1, "nan", [holes], [np.array([[1, 20, 3], [10, 5, 30]], F32)],
             imputed_value_floats=[10.0, 20.0, 30.0], replaced_value_float=float("nan"))
    yield ml("Imputer", 1, "one_value", [np.array([[-1, 2], [3, -1]], F32)], [np.array([[0.5, 2], [3, 0.5]], F32)],
             imputed_value_floats=[0.5], replaced_value_float=-1.0)
    yield ml("Imputer", 1, "int64", [np.array([[0, 2], [3, 0]])], [np.array([[8, 2], [3, 9]])],
             imputed_value_int64s=[8, 9])
    x = np.abs(numbers(3, 4)) + F32(0.1)
    for norm, divisor in [("MAX", x.max(1, keepdims=True)), ("L1", x.sum(1, keepdims=True)),
                          ("L2", np.sqrt((x**2).sum(1, keepdims=True)))]:
        yield ml("Normalizer", 1, norm.lower(), [x], [x / divisor], norm=norm)
    zeros = np.array([[0, 0], [3, 1]], F32)
    yield ml("Normalizer", 1, "zeros", [zeros], [np.array([[0, 0], [0.75, 0.25]], F32)], norm="L1")
    yield ml("Normalizer", 1, "default", [x.astype(np.double)], [x / x.max(1, keepdims=True)])
    x = numbers(3, 2)
    yield ml("Scaler", 1, "features", [x], [(x - np.array([0.5, -1], F32)) * np.array([2, 0.25], F32)],
             offset=[0.5, -1.0], scale=[2.0, 0.25])
    yield ml("Scaler", 1, "one_value", [x], [(x - F32(1.5)) * F32(3)], offset=[1.5], scale=[3.0])
    whole = np.array([[1, 2], [3, 4]])
    yield ml("Scaler", 1, "int64", [whole], [((whole - [1, 2]) * [0.5, 2]).astype(F32)],
             offset=[1.0, 2.0], scale=[0.5, 2.0])


def linear():
    x = numbers(5, 4)
    weights, bias = numbers(3, 4, seed=1), numbers(3, seed=2)
    given = {"coefficients": weights.ravel().tolist(), "intercepts": bias.tolist()}
    scores = x @ weights.T + bias
    top = scores.argmax(1)
    for transform, z in [("NONE", scores), ("SOFTMAX", special.softmax(scores, 1)), ("LOGISTIC", special.expit(scores))]:
        yield ml("LinearClassifier", 1, transform.lower(), [x], [np.array([10, 20, 30])[top], z.astype(F32)],
                 classlabels_ints=[10, 20, 30], post_transform=transform, **given)
    yield ml("LinearClassifier", 1, "text_labels", [x], [strings("a", "b", "c")[top], scores],
             classlabels_strings=["a", "b", "c"], multi_class=1, **given)
    yield ml("LinearRegressor", 1, "one_target", [x], [x @ weights[:1].T + bias[:1]],
             coefficients=weights[0].tolist(), intercepts=bias[:1].tolist())
    yield ml("LinearRegressor", 1, "targets", [x], [scores], targets=3, **given)
    yield ml("LinearRegressor", 1, "no_intercepts", [x], [x @ weights.T], targets=3,
             coefficients=weights.ravel().tolist())
    whole = np.array([[1, 2, 3, 4], [-1, 0, 2, 5]])
    yield ml("LinearRegressor", 1, "int64", [whole], [(whole @ weights[:1].T + bias[:1]).astype(F32)],
             coefficients=weights[0].tolist(), intercepts=bias[:1].tolist())


def points(classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(60) % classes
    x = (rng.standard_normal((60, 3)) + 1.5 * np.eye(3)[y % 3] * (1 + y[:, None])).astype(F32)
    return x, y


KERNELS = [("linear", {}), ("rbf", {"gamma": 0.4}), ("poly", {"gamma": 0.3, "coef0": 0.5, "degree": 2}),
           ("sigmoid", {"gamma": 0.1, "coef0": 0.2})]


def kernel(name, options):
    return {"kernel_type": name.upper(),
            "kernel_params": [float(options.get(k, 0)) for k in ("gamma", "coef0", "degree")]}


def support_vectors():
    x, y = points(3)
    for name, options in KERNELS:
        svc = SVC(kernel=name, decision_function_shape="ovo", **options).fit(x, y)
        given = {"coefficients": svc.dual_coef_.ravel().tolist(), "support_vectors": svc.support_vectors_.ravel().tolist(),
                 "rho": svc.intercept_.tolist(), "vectors_per_class": svc.n_support_.tolist(), **kernel(name, options)}
        new = points(3, seed=1)[0][:8]
        yield ml("SVMClassifier", 1, f"{name}_3_classes", [new],
                 [np.array([5, 6, 7])[svc.predict(new)], svc.decision_function(new).astype(F32)],
                 classlabels_ints=[5, 6, 7], **given)
        if name == "rbf":
            yield ml("SVMClassifier", 1, "text_labels", [new], [strings("a", "b", "c")[svc.predict(new)]], unread=1,
                     classlabels_strings=["a", "b", "c"], **given)
    target = (x[:, 0] * 2 - x[:, 1] ** 2 + 0.5).astype(F32)
    new = points(3, seed=2)[0][:8]
    for name, options in KERNELS:
        svr = SVR(kernel=name, C=2.0, **options).fit(x, target)
        yield ml("SVMRegressor", 1, name, [new], [svr.predict(new).astype(F32)[:, None]],
                 coefficients=svr.dual_coef_.ravel().tolist(), support_vectors=svr.support_vectors_.ravel().tolist(),
                 rho=svr.intercept_.tolist(), n_supports=len(svr.support_), **kernel(name, options))


def nodes(trees):
    """The attributes nodes_* of fitted trees, thresholds as scikit-learn has them."""
    found = {k: [] for k in "treeids nodeids featureids values modes truenodeids falsenodeids".split()}
    for t, tree in enumerate(trees):
        for n in range(tree.node_count):
            leaf = tree.children_left[n] < 0
            for key, value in [("treeids", t), ("nodeids", n), ("featureids", 0 if leaf else int(tree.feature[n])),
                               ("values", 0.0 if leaf else float(tree.threshold[n])),
                               ("modes", "LEAF" if leaf else "BRANCH_LEQ"),
                               ("truenodeids", 0 if leaf else int(tree.children_left[n])),
                               ("falsenodeids", 0 if leaf else int(tree.children_right[n]))]:
                found[key].append(value)
    return {f"nodes_{k}": v for k, v in found.items()}


def leaves(trees, prefix, weights):
    """The attributes PREFIX_*: of each leaf, the weights by number that `weights` of its tree and number gives."""
    found = {k: [] for k in "treeids nodeids ids weights".split()}
    for t, tree in enumerate(trees):
        for n in range(tree.node_count):
            if tree.children_left[n] < 0:
                for i, w in enumerate(weights(tree, n)):
                    for key, value in [("treeids", t), ("nodeids", n), ("ids", i), ("weights", float(w))]:
                        found[key].append(value)
    return {f"{prefix}_{k}": v for k, v in found.items()}


def as_doubles(attributes, *names):
    """The form of version 3: the named attributes as double tensors."""
    given = dict(attributes)
    for name in names:
        values = given.pop(name)
        given[f"{name}_as_tensor"] = helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
    return given


def classifiers():
    x, y = points(3)
    new = points(3, seed=3)[0][:10]

    def attributes(model):
        trees = [e.tree_ for e in getattr(model, "estimators_", [model])]

        def share(tree, n):
            counts = tree.value[n][0]
            return counts / counts.sum() / len(trees)
        return nodes(trees) | leaves(trees, "class", share)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y)
    forest = RandomForestClassifier(4, max_depth=3, random_state=0).fit(x, y)
    for label, model in [("tree", tree), ("forest", forest)]:
        chances = model.predict_proba(new)
        top = chances.argmax(1)
        yield ml("TreeEnsembleClassifier", 1, label, [new], [np.array([4, 5, 6])[top], chances.astype(F32)],
                 classlabels_int64s=[4, 5, 6], **attributes(model))
        yield ml("TreeEnsembleClassifier", 3, label, [new], [np.array([4, 5, 6])[top], chances.astype(F32)],
                 classlabels_int64s=[4, 5, 6], **attributes(model))
        yield ml("TreeEnsembleClassifier", 3, f"{label}_double", [new.astype(np.double)],
                 [np.array([4, 5, 6])[top], chances.astype(F32)], classlabels_int64s=[4, 5, 6],
                 **as_doubles(attributes(model), "nodes_values", "class_weights"))
    chances = forest.predict_proba(new)
    yield ml("TreeEnsembleClassifier", 1, "text_labels_softmax", [new],
             [strings("a", "b", "c")[chances.argmax(1)], special.softmax(chances, 1).astype(F32)],
             classlabels_strings=["a", "b", "c"], post_transform="SOFTMAX", **attributes(forest))
    base = np.array([0.25, -0.5, 1.0])
    yield ml("TreeEnsembleClassifier", 1, "base_values", [new],
             [(chances + base).argmax(1), (chances + base).astype(F32)],
             classlabels_int64s=[0, 1, 2], base_values=base.tolist(), **attributes(forest))


def regressors():
    x, _ = points(3)
    target = np.stack([x[:, 0] * 2 - x[:, 1], x[:, 2] ** 2], 1)
    new = points(3, seed=4)[0][:10]

    def attributes(trees, divisor=1):
        return nodes(trees) | leaves(trees, "target", lambda tree, n: tree.value[n][:, 0] / divisor)
    tree = DecisionTreeRegressor(max_depth=3, random_state=0).fit(x, target[:, 0])
    forest = RandomForestRegressor(3, max_depth=3, random_state=0).fit(x, target)
    parts = [e.tree_ for e in forest.estimators_]
    each = np.stack([e.predict(new) for e in forest.estimators_])
    for version in (1, 3):
        yield ml("TreeEnsembleRegressor", version, "tree", [new], [tree.predict(new).astype(F32)[:, None]],
                 n_targets=1, **attributes([tree.tree_]))
        yield ml("TreeEnsembleRegressor", version, "forest", [new], [forest.predict(new).astype(F32)],
                 n_targets=2, **attributes(parts, len(parts)))
        for aggregate, f in [("AVERAGE", np.mean), ("MIN", np.min), ("MAX", np.max)]:
            yield ml("TreeEnsembleRegressor", version, aggregate.lower(), [new], [f(each, 0).astype(F32)],
                     n_targets=2, aggregate_function=aggregate, **attributes(parts))
        yield ml("TreeEnsembleRegressor", version, "base_values", [new],
                 [(each.sum(0) + [1.5, -2]).astype(F32)], n_targets=2, base_values=[1.5, -2.0], **attributes(parts))
    yield ml("TreeEnsembleRegressor", 3, "double", [new.astype(np.double)], [forest.predict(new).astype(F32)],
             n_targets=2, **as_doubles(attributes(parts, len(parts)), "nodes_values", "target_weights"))
    yield from comparisons()


def comparisons():
    """One node of each kind, its leaves 1 (true) and 2 (false), and where NaN goes."""
    x = np.array([[1], [2], [3]], F32)
    tests = {"LEQ": np.less_equal, "LT": np.less, "GTE": np.greater_equal, "GT": np.greater, "EQ": np.equal,
             "NEQ": np.not_equal}

    def given(mode):
        return {"nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0] * 3,
                "nodes_values": [2.0, 0.0, 0.0], "nodes_modes": [f"BRANCH_{mode}", "LEAF", "LEAF"],
                "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
                "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1}
    for mode, test in tests.items():
        yield ml("TreeEnsembleRegressor", 1, f"branch_{mode.lower()}", [x],
                 [np.where(test(x, 2), 1, 2).astype(F32)], **given(mode))
    holes = np.array([[1], [np.nan], [3]], F32)
    for tracks in (0, 1):
        yield ml("TreeEnsembleRegressor", 1, f"missing_{'true' if tracks else 'false'}", [holes],
                 [np.array([[1], [1 if tracks else 2], [2]], F32)],
                 nodes_missing_value_tracks_true=[tracks, 0, 0], **given("LEQ"))
