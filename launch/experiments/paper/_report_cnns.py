"""Sections of the report about CNN classifiers, and about single predictions."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.harness import _published
from experiments.paper import _report, _report_parts

Found = _report_parts.Found
_number = _report_parts.number
_percent = _report_parts.percent

_KEPT = {
    "accuracy of the networks %": ("test_accuracy_original", "percent"),
    "accuracy of their reconstructions %": ("test_accuracy", "percent"),
    "share kept by the better half %": ("test_top_kept", "percent"),
    "L1 between the accuracies": ("test_accuracy_l1", ".4f"),
    "R² between the accuracies": ("test_accuracy_r2", ".3f"),
    "Kendall's tau between the accuracies": ("test_accuracy_tau", ".3f"),
    "images put into the same class %": ("test_agreement", "percent"),
    "… by the network of the mean latent %": ("agreement_mean_latent", "percent"),
    "divergence from the original (nats)": ("test_kl", ".4f"),
    "… of the network of the mean latent": ("kl_mean_latent", ".4f"),
    "accuracy predicted from the latent, tau": ("tau_latent", ".3f"),
    "… from weight statistics": ("tau_statistics", ".3f"),
    "… from raw weights": ("tau_weights", ".3f"),
    "orbit spread": ("orbit_spread", ".1e"),
    "parameters": ("num_parameters", ",d"),
    "steps": ("num_steps", ",d"),
}


def _cnns(found: Found) -> Iterator[_report.Block]:
    """Tell what decoded classifiers keep, and what merging them gives."""
    runs = found.of("cnns", "autoencode_classifiers")
    ours = {}
    if runs:
        yield _kept_table(found, runs)
        for name in runs:
            yield from found.figure(
                name, "accuracies", "accuracy of networks and reconstructions"
            )
        ours["accuracy"] = "; ".join(
            f"{found.label(name)}: {_percent(results['test_top_kept'])} %,"
            f" {results['test_accuracy_l1']:.3f}, {results['test_accuracy_r2']:.2f},"
            f" {_number(results['test_accuracy_tau'], '.2f')}"
            for name, results in runs.items()
        )
    for name, results in found.of("cnns", "merge_cnns").items():
        if results["methods"]:
            yield _pair_table(found, name, results)
            caption = "accuracy and loss along the path"
            yield from found.figure(name, "paths", caption)
            best = _best(results["methods"])
            naive = results["methods"].get("naive")
            ours["merge"] = "; ".join(
                [ours.get("merge", "")] * ("merge" in ours)
                + [
                    f"{found.label(name)}: accuracy in the middle"
                    f" {_middle(naive, 'none') if naive else '-'} % naive, at best"
                    f" {best[1]} % ({best[0]})"
                ]
            )
        if "crowd" in results:
            yield _crowd_table(found, name, results["crowd"])
            yield from found.figure(name, "crowd", "accuracy of means of crowds")
    yield _report_parts.comparison(_published.CNNS, ours)


def _prediction(found: Found) -> Iterator[_report.Block]:
    """Tell how encoders do at their own tasks."""
    ours = {}
    runs = found.of("prediction", "predict")
    tasks = {
        task: {name: run for name, run in runs.items() if run["task"] == task}
        for task in ("label", "accuracy")
    }
    if tasks["label"]:
        yield _class_table(found, tasks["label"])
    if tasks["accuracy"]:
        yield _accuracy_table(found, tasks["accuracy"])
    for name, results in runs.items():
        captions = {
            "confusion": "classes, true and predicted",
            "accuracies": "accuracy",
        }
        for file, caption in captions.items():
            yield from found.figure(name, file, caption)
        ours |= _predicted(found, name, results)
    if tasks["accuracy"]:
        both = [ours.get(f"tau_statnn_{kind}", "-") for kind in ("relu", "tanh")]
        ours["tau_statnn"] = "; ".join(both)
    yield _report_parts.comparison(_published.PREDICTION, ours)


def _class_table(found: Found, runs: Mapping[str, Mapping[str, Any]]) -> _report.Table:
    keys = ("accuracy", "accuracy_of_twins", "train_accuracy")
    keys = (*keys, "probe_canonical", "probe_weights")
    columns = (
        *("INRs", "accuracy %", "of twins %", "on training networks %"),
        *("linear, canonical weights %", "linear, weights %", *_SIZES),
    )
    rows = [
        (
            found.label(name),
            *(_percent(results.get(key)) for key in keys),
            *_sizes(found, name, results),
        )
        for name, results in runs.items()
    ]
    return _report.Table("INRs classified by their weights", columns, rows,
                         found.only(runs))  # fmt: skip


def _accuracy_table(
    found: Found, runs: Mapping[str, Mapping[str, Any]]
) -> _report.Table:
    keys = ("tau", "tau_of_twins", "train_tau", "r2", "mae")
    keys = (*keys, "tau_statistics", "tau_canonical", "tau_weights")
    columns = (
        *("CNNs", "tau", "of twins", "on training networks", "R²", "mean error"),
        *("tau of statistics", "of canonical weights", "of weights", *_SIZES),
    )
    rows = [
        (
            found.label(name),
            *(_number(results.get(key), ".3f") for key in keys),
            *_sizes(found, name, results),
        )
        for name, results in runs.items()
    ]
    return _report.Table("Accuracy of CNNs predicted from their weights", columns,
                         rows, found.only(runs))  # fmt: skip


_SIZES = ("networks to train on", "held out", "parameters", "time")


def _sizes(found: Found, name: str, results: Mapping[str, Any]) -> list[str]:
    keys = ("num_train", "num_test", "num_parameters")
    sizes = [_number(results.get(key), ",d") for key in keys]
    return [*sizes, _report_parts.time_of(found, name)]


def _predicted(found: Found, name: str, results: Mapping[str, Any]) -> dict[str, str]:
    """Return what of a prediction has been published, by key of the comparison."""
    stage = found.plan[name]
    config: Any = stage.config
    made: Any = (
        found.plan[stage.needs["zoo"]].config if "zoo" in stage.needs else config
    )
    read: Any = found.plan[stage.needs.get("pretrained", name)].config.encoder
    encoder = read.symmetry or read.kind
    if results["task"] == "label":
        source = made.data.source.removesuffix("_mnist")
        return {f"{source}_{encoder}": f"{_percent(results['accuracy'])} %"}
    activation = made.architecture.activation
    tau, statistics = (_number(results[k], ".3f") for k in ("tau", "tau_statistics"))
    ours = {f"tau_statnn_{activation}": statistics}
    if encoder == "scale_gmn":
        ours[f"tau_{activation}"] = tau
    return ours


def _kept_table(found: Found, runs: Mapping[str, Mapping[str, Any]]) -> _report.Table:
    rows = []
    for quantity, (key, form) in _KEPT.items():
        values = [results.get(key) for results in runs.values()]
        shown = [_percent(x) if form == "percent" else _number(x, form) for x in values]
        rows.append((quantity, *shown))
    rows.append(("time", *(_report_parts.time_of(found, name) for name in runs)))
    return _report.Table(
        "Autoencoders of CNNs, on networks that they have not seen",
        ("", *(found.label(name) for name in runs)),
        rows,
        found.only(runs),
    )


def _pair_table(found: Found, name: str, results: Mapping[str, Any]) -> _report.Table:
    rows = []
    parents = results["parents"]
    accuracy, loss = parents["accuracy"], parents["loss"]
    rows.append(
        (
            *("(the two networks)", "", "-"),
            _percent(accuracy["mean"], accuracy["se"]),
            *("-", _number(loss["mean"]), "-", "-"),
        )
    )
    for method in results["methods"].values():
        for repair, numbers in method["repairs"].items():
            losses, drop = numbers["loss"], numbers["drop"]
            rows.append(
                (
                    method["label"],
                    "images" if method["sees"] == "data" else "weights",
                    repair,
                    _middle(method, repair),
                    _percent(drop["mean"], drop["se"]),
                    _number(losses["middle"]),
                    _report_parts.with_error(losses["barrier"], losses["barrier_se"]),
                    _number(method["seconds_per_pair"], ".3f"),
                )
            )
    columns = (
        *("method", "sees", "repair", "accuracy in the middle %", "drop"),
        *("loss in the middle", "barrier of the loss (nats)", "seconds per pair"),
    )
    caption = (
        f"{found.label(name)}: {len(results['pairs'])} pairs of independently trained"
        f" CNNs, {results['num_test_images']} images"
    )
    return _report.Table(caption, columns, rows, found.only([name]))


def _crowd_table(found: Found, name: str, crowd: Mapping[str, Any]) -> _report.Table:
    rows = [
        ("mean of the members", "-", *(_percent(x["mean"]) for x in crowd["members"]))
    ]
    for method in crowd["methods"].values():
        for repair, numbers in method["repairs"].items():
            values = (_percent(x["mean"]) for x in numbers["accuracy"])
            rows.append((method["label"], repair, *values))
    columns = ("method", "repair", *(f"{size} networks" for size in crowd["sizes"]))
    caption = f"{found.label(name)}: accuracy in % of the mean of k networks"
    return _report.Table(caption, columns, rows, found.only([name]))


def _middle(method: Mapping[str, Any], repair: str) -> str:
    error = method["repairs"][repair]["error"]
    return _percent(1 - error["middle"], error["middle_se"])


def _best(methods: Mapping[str, Any]) -> tuple[str, str]:
    """Return label and accuracy of the best midpoint that needs no images."""
    errors = {
        method["label"]: method["repairs"]["none"]["error"]["middle"]
        for method in methods.values()
        if method["sees"] != "data" and "none" in method["repairs"]
    }
    label = min(errors, key=lambda name: errors[name])
    return label, _percent(1 - errors[label])


SECTIONS = {"cnns": _cnns, "prediction": _prediction}
