"""Our numbers that stand beside published ones, by the keys of these."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import harness
from experiments.paper import _contents
from symmerge_jax import symmetry, zoo

Contents = _contents.Contents
Ours = dict[str, str]

_NOISE = 0.005
"""Standard deviation of the noise of the paper's interpolation experiment."""


def data(contents: Contents) -> Ours:
    """Return what is known of the zoos: statistics of weights, quality, sizes."""
    ours, counts = {}, {}
    for name, made in zoos(contents).items():
        if made.architecture["kind"] == "siren":
            leaves = symmetry.flatten(made.params)
            kernels = (leaves[path] for path in sorted(leaves) if path[-1] == "kernel")
            stds = (np.std(kernel, dtype=np.float64) for kernel in kernels)
            ours.setdefault("std", ", ".join(f"{std:.4f}" for std in stds))
            psnr = np.mean(made.metrics["psnr"])
            ours.setdefault("psnr", f"{psnr:.1f} dB ({contents.label(name)})")
        elif made.architecture["kind"] == "cnn":
            counts[made.architecture["activation"]] = f"{len(made):,}"
    if counts:
        ours["cnns"] = "; ".join(counts.get(name, "-") for name in ("relu", "tanh"))
    return ours


def zoos(contents: Contents) -> dict[str, zoo.Zoo]:
    """Return the zoos that are there, by stage."""
    return {
        name: zoo.load(stage.output, validate=False)
        for name, stage in contents.plan.items()
        if stage.is_zoo and contents.states[name].state == "done"
    }


def reconstruction(contents: Contents) -> Ours:
    """Return sizes of all autoencoders, and errors of the first one."""
    ours = {
        name: f"{results['num_parameters']:,}"
        for name, results in contents.autoencoders().items()
    }
    for name, results in contents.of("reconstruction", "autoencode").items():
        for key in ("mse", "mse_image", "mse_image_inr"):
            if key in results:
                ours.setdefault(key, f"{results[key]:.4f} ({contents.label(name)})")
    return ours


def latents(contents: Contents) -> Ours:
    """Return what orbits look like in latent space, and what latents know."""
    ours = {}
    for name, results in list(contents.autoencoders().items())[:1]:
        probe = _percent(results.get("probe_latent"))
        ours["probe"] = f"{probe} % ({contents.label(name)})"
    for name, results in contents.of("latents", "map_latents").items():
        ours |= _orbits(contents, name, results)
    return ours


def _orbits(contents: Contents, name: str, results: Mapping[str, Any]) -> Ours:
    names = {
        stage: key.removeprefix("canonicalizers.")
        for key, stage in contents.plan[name].needs.items()
    }
    texts = {}
    for stage, encoder in names.items():
        orbit = results["encoders"][encoder]["orbits"].get("PD")
        if orbit is not None:
            texts[stage] = f"spread {harness.Number(orbit['spread'], '.1e')}"
            if orbit["two_parts"] is not None:
                texts[stage] += f", silhouette of two parts {orbit['two_parts']:.2f}"
    others = [
        f"{names[stage]}: {texts[stage]}"
        for stage in ("neural_graphs", "ablated")
        if stage in texts
    ]
    ours = {"others": "; ".join(others), "scale_gmn": texts.get("scale_gmn", "")}
    if results["values"] == "class" and "scale_gmn" in names:
        neighbors = results["encoders"][names["scale_gmn"]]["neighbors"]
        ours["clusters"] = f"{_percent(neighbors)} % of classes by nearest neighbours"
    return {key: text for key, text in ours.items() if text}


def interpolation(contents: Contents) -> Ours:
    """Return the errors along the paths between twins of the PD orbit."""
    ours = {}
    for name, results in contents.of("interpolation").items():
        needed = contents.plan[name].needs.get("canonicalizer", "")
        known = needed in contents.plan
        encoder = contents.label(needed) if known else needed
        ours |= _paths(results["cells"], encoder)
    return ours


def _paths(cells: Sequence[Mapping[str, Any]], encoder: str) -> Ours:
    by_name = {
        (cell["method"], cell["sigma"]): cell
        for cell in cells
        if cell["family"] == "PD" and cell.get("encoder") in (None, encoder)
    }
    ours, barriers = {}, []
    for method, short in (("naive", "naive"), ("reconstruct", "decoded")):
        if (cell := by_name.get((method, _NOISE))) is not None:
            for place in ("start", "middle", "end"):
                ours[f"{short}_{place}"] = f"{main(cell)[place]:.4f}"
            barriers.append(f"{short} {main(cell)['barrier']:.4f}")
    if barriers:
        ours["barrier"] = "; ".join(barriers)
    for method, key in (("naive", "own_naive"), ("matching", "own_pd")):
        if (cell := by_name.get((method, 0.0))) is not None:
            ours[key] = f"{cell['own']['middle']:.4f}"
    for method, key in (("matching", "recovered_pd"), ("matching_p", "recovered_p")):
        if (cell := by_name.get((method, 0.0))) is not None:
            ours[key] = f"{_percent(cell['recovered'])} %"
    ends = [by_name.get((method, _NOISE)) for method in ("latent", "reconstruct")]
    if all(ends):
        latent, decoded = (main(cell)["middle"] for cell in ends if cell)
        ours["latent"] = f"{latent:.4f} against {decoded:.4f} in the middle"
    return ours


def main(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the numbers against the image if there is one, else against network a."""
    return cell.get("image", cell["own"])


def failure(contents: Contents) -> Ours:
    """Return the barriers between the twins whose latents are farthest apart."""
    ours = {}
    for results in contents.of("failure", "failure_mode").values():
        found = {
            encoder: line["farthest"]["methods"].get("reconstruct")
            for encoder, line in results["encoders"].items()
        }
        ours["failure"] = "; ".join(
            f"{encoder}: {main(method)['barrier']:.4f} decoded"
            for encoder, method in found.items()
            if method is not None
        )
    return ours


def ablation(contents: Contents) -> Ours:
    """Return the spread of orbits by encoder, and the error of the first ablation."""
    ours = {
        f"spread_{name}": f"{results['orbit_spread']:.1e} (trained)"
        for name, results in contents.autoencoders().items()
    }
    for name, results in list(contents.of("ablation", "autoencode").items())[:1]:
        ours["mse"] = f"{results['mse']:.4f} ({contents.label(name)})"
    return ours


def cnns(contents: Contents) -> Ours:
    """Return what decoded classifiers keep, and the accuracy between two of them."""
    kept = [
        f"{contents.label(name)}: {_percent(results['test_top_kept'])} %,"
        f" {results['test_accuracy_l1']:.3f}, {results['test_accuracy_r2']:.2f},"
        f" {harness.Number(results['test_accuracy_tau'], '.2f')}"
        for name, results in contents.of("cnns", "autoencode_classifiers").items()
    ]
    merged = []
    for name, results in contents.of("cnns", "merge_cnns").items():
        accuracies = {
            method["label"]: 1 - method["error"]["middle"]
            for method in results["methods"].values()
            if method["sees"] != "data"
        }
        if accuracies:
            best = max(accuracies, key=lambda label: accuracies[label])
            merged.append(
                f"{contents.label(name)}: accuracy in the middle"
                f" {_percent(accuracies.get('naive'))} % naive, at best"
                f" {_percent(accuracies[best])} % ({best})"
            )
    texts = {"accuracy": "; ".join(kept), "merge": "; ".join(merged)}
    return {key: text for key, text in texts.items() if text}


def prediction(contents: Contents) -> Ours:
    """Return accuracies of classes, and tau of predicted accuracies, by encoder."""
    ours, statistics = {}, {}
    for name, results in contents.of("prediction", "predict").items():
        source, activation, encoder = predicted(contents.plan, name)
        if results["task"] == "label":
            ours[f"{source}_{encoder}"] = f"{_percent(results['accuracy'])} %"
            continue
        statistics[activation] = f"{harness.Number(results['tau_statistics'], '.3f')}"
        if encoder == "scale_gmn":
            ours[f"tau_{activation}"] = f"{harness.Number(results['tau'], '.3f')}"
    if statistics:
        both = (statistics.get(kind, "-") for kind in ("relu", "tanh"))
        ours["tau_statnn"] = "; ".join(both)
    return ours


def predicted(plan: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """Return images, activation and encoder of a prediction.

    One that starts from an autoencoder has the encoder of that.
    """
    stage = plan[name]
    made = plan[stage.needs["zoo"]].config if "zoo" in stage.needs else stage.config
    encoder = plan[stage.needs.get("pretrained", name)].config.encoder
    source = made.data.source.removesuffix("_mnist")
    activation = made.architecture.get("activation", "")
    return source, activation, encoder.symmetry or encoder.kind


def _percent(value: float | None) -> str:
    return str(harness.Number(value, ".1%"))


SECTIONS: Mapping[str, Callable[[Contents], Ours]] = {
    "data": data,
    "reconstruction": reconstruction,
    "latents": latents,
    "interpolation": interpolation,
    "failure": failure,
    "ablation": ablation,
    "cnns": cnns,
    "prediction": prediction,
}
"""By section of the report."""
