"""Sections of the report about INRs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness import _published
from experiments.paper import _report, _report_parts
from symmerge_jax import plots, training

Found = _report_parts.Found
_number = _report_parts.number

_NOISE = 0.005
"""Standard deviation of the noise of the paper's interpolation experiment."""


def _reconstruction(found: Found) -> Iterator[_report.Block]:
    """Tell how well decoded INRs render: by encoder."""
    runs = found.of("reconstruction", "autoencode")
    if runs:
        yield _error_table(found, runs, "Held-out INRs, decoded, by encoder")
        for name in runs:
            yield from found.figure(
                name, "reconstructions", "held-out INRs and their reconstructions"
            )
    yield from _training(found)
    ours = {}
    for name, results in _all_autoencoders(found).items():
        ours[name] = f"{results['num_parameters']:,}"
    for name, results in runs.items():
        for key in ("mse", "mse_image", "mse_image_inr"):
            if key in results and key not in ours:
                ours[key] = f"{results[key]:.4f} ({found.label(name)})"
    yield _report_parts.comparison(_published.RECONSTRUCTION, ours)


def _latents(found: Found) -> Iterator[_report.Block]:
    """Tell what latents know, and whether twins have one."""
    runs = _all_autoencoders(found)
    ours = {}
    if runs:
        rows = [
            (
                found.label(name),
                _number(results["orbit_spread"], ".1e"),
                _number(results["between_networks"], ".2f"),
                *(
                    _report_parts.percent(results.get(f"probe_{what}"))
                    for what in ("latent", "canonical", "weights")
                ),
            )
            for name, results in runs.items()
        ]
        columns = (
            *("encoder", "orbit spread", "between networks", "probe of latents %"),
            *("of canonical weights %", "of weights %"),
        )
        caption = (
            "Largest relative distance of a twin's latent from the mean of its orbit,"
            " that between networks, and linear probes for the label"
        )
        yield _report.Table(caption, columns, rows, found.only(runs))
        ours["probe"] = "; ".join(
            f"{_report_parts.percent(results.get('probe_latent'))} %"
            f" ({found.label(name)})"
            for name, results in list(runs.items())[:1]
        )
    captions = {
        "maps": "held-out networks in the plane",
        "orbits": "the same with the twins of one network",
        "distances": "distances of latents, twins of one network side by side",
    }
    for name, results in found.of("latents", "map_latents").items():
        yield from _map_tables(found, name, results)
        for file, caption in captions.items():
            yield from found.figure(name, file, caption)
        ours |= _orbits(found, name, results)
    yield _report_parts.comparison(_published.LATENTS, ours)


def _map_tables(
    found: Found, name: str, results: Mapping[str, Any]
) -> Iterator[_report.Table]:
    """Yield what latents know of their networks, and how tight orbits are."""
    lines = results["encoders"] | results["baselines"]
    read = _number if results["values"] == "accuracy" else _report_parts.percent
    unit = "tau" if results["values"] == "accuracy" else "%"
    rows = [
        (encoder, *(read(line[key]) for key in ("neighbors", "linear")))
        for encoder, line in lines.items()
    ]
    near = f"{results['num_neighbors']} nearest neighbours {unit}"
    caption = (
        f"{found.label(name)}: what is read from them, {results['num_networks']}"
        f" held-out networks, {results['num_train']} others to learn from"
    )
    columns = ("encoder", near, f"linear {unit}")
    yield _report.Table(caption, columns, rows, found.only([name]))
    columns = (
        *("encoder", "spread", "distance of twins", "of networks", "ratio"),
        *("twins next to their own %", "two parts (silhouette)", "smaller part %"),
    )
    for family in next(iter(lines.values()))["orbits"]:
        rows = []
        for encoder, line in lines.items():
            orbit = line["orbits"][family]
            rows.append(
                (
                    encoder,
                    *(_number(orbit["spread"], ".1e"), _number(orbit["within"], ".2e")),
                    *(_number(orbit["between"], ".3g"), _number(orbit["ratio"], ".1e")),
                    _report_parts.percent(orbit["found"]),
                    _number(orbit["two_parts"], ".2f"),
                    _report_parts.percent(orbit["smaller_part"]),
                )
            )
        caption = (
            f"{found.label(name)}: {family} orbits of {results['num_orbits']} networks,"
            f" {results['num_twins']} twins each"
        )
        yield _report.Table(caption, columns, rows, found.only([name]))


def _orbits(found: Found, name: str, results: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the orbits in latent space has been published, by key."""
    stages = {
        key.removeprefix("canonicalizers."): stage
        for key, stage in found.plan[name].needs.items()
    }
    texts = {}
    for encoder, line in results["encoders"].items():
        orbit = line["orbits"].get("PD")
        if orbit is not None:
            spread, parts = _number(orbit["spread"], ".1e"), orbit["two_parts"]
            text = f"spread {spread}"
            if parts is not None:
                text += f", silhouette of two parts {parts:.2f}"
            texts[stages.get(encoder, encoder)] = (encoder, text)
    others = [texts[key] for key in ("neural_graphs", "ablated") if key in texts]
    ours = {"others": "; ".join(f"{encoder}: {text}" for encoder, text in others)}
    if "scale_gmn" in texts:
        ours["scale_gmn"] = texts["scale_gmn"][1]
    names = {stage: encoder for encoder, stage in stages.items()}
    if results["values"] == "class" and "scale_gmn" in names:
        line = results["encoders"][names["scale_gmn"]]
        ours["clusters"] = (
            f"{_report_parts.percent(line['neighbors'])} % of the classes read by"
            " nearest neighbours"
        )
    return {key: text for key, text in ours.items() if text}


def _interpolation(found: Found) -> Iterator[_report.Block]:
    """Show the paths between twins, and between separate fits."""
    ours = {}
    for name, results in found.of("interpolation").items():
        yield from cell_tables(found, name, results["cells"])
        captions = {
            "paths_image": "error against the image along the path",
            "paths_own": "error against network a along the path",
            "noise": "barrier and middle of the path against the noise",
        }
        for file, caption in captions.items():
            yield from found.figure(name, file, caption)
        main = found.plan[name].needs.get("canonicalizer", "")
        label = found.label(main) if main in found.plan else main
        ours |= _paths(results["cells"], label)
    yield _report_parts.comparison(_published.INTERPOLATION, ours)


def _failure(found: Found) -> Iterator[_report.Block]:
    """Show the pairs of twins whose latents are the farthest apart."""
    ours = {}
    captions = {
        "paths_image": "error against the image along the path",
        "renderings": "what lies between the farthest twins of the first network",
    }
    for name, results in found.of("failure", "failure_mode").items():
        yield _failure_table(found, name, results)
        for file, caption in captions.items():
            yield from found.figure(name, file, caption)
        ours["failure"] = "; ".join(
            f"{encoder}: {_number(_main(method)['barrier'])} decoded"
            for encoder, line in results["encoders"].items()
            if (method := line["farthest"]["methods"].get("reconstruct")) is not None
        )
    yield _report_parts.comparison(_published.FAILURE, ours)


def _failure_table(
    found: Found, name: str, results: Mapping[str, Any]
) -> _report.Table:
    rows = []
    for encoder, line in results["encoders"].items():
        for kind in ("farthest", "random"):
            for method in line[kind]["methods"].values():
                main = _main(method)
                rows.append(
                    (
                        *(encoder, kind),
                        _number(line[kind]["distance"]["mean"], ".1e"),
                        method["label"],
                        *(_number(main[key]) for key in ("start", "middle", "end")),
                        _report_parts.with_error(main["barrier"], main["barrier_se"]),
                    )
                )
    columns = (
        *("encoder", "twins", "distance of latents", "method", "start", "middle"),
        *("end", "barrier"),
    )
    caption = (
        f"{found.label(name)}: MSE along the path between the twins whose latents are"
        f" farthest apart, and between random ones; {results['num_networks']} networks,"
        f" {results['num_twins']} {results['family']} twins each"
    )
    return _report.Table(caption, columns, rows, found.only([name]))


def _main(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the numbers against the image if there is one, else against network a."""
    return cell.get("image", cell["own"])


def _ablation(found: Found) -> Iterator[_report.Block]:
    """Compare encoders without a part, with twins, and of other sizes."""
    runs = found.of("ablation", "autoencode")
    if runs:
        first = dict(list(found.of("reconstruction", "autoencode").items())[:1])
        caption = "The same training with a part left out or changed"
        yield _error_table(found, {**first, **runs}, caption)
    ours = {
        f"spread_{name}": f"{results['orbit_spread']:.1e} (trained)"
        for name, results in _all_autoencoders(found).items()
    }
    for name, results in list(runs.items())[:1]:
        ours["mse"] = f"{results['mse']:.4f} ({found.label(name)})"
    yield _report_parts.comparison(_published.ABLATION, ours)


def _training(found: Found) -> Iterator[_report.Block]:
    """Draw the error on validation networks of all autoencoders as they train."""
    lines = {}
    for name in _all_autoencoders(found):
        file = found.plan[name].output / "metrics.jsonl"
        series = training.read_metrics(file) if file.exists() else {}
        if (error := series.get("val/mse")) is not None:
            steps, values = np.asarray(error.steps), np.asarray(error.values)
            lines[found.label(name)] = (steps, values, np.full(len(values), np.nan))
    if lines:
        title = "validation MSE"
        figure = plots.mean_curves(
            {title: lines}, "step", num_columns=1, log_scale=(title,)
        )
        path = plots.save_figure(figure, found.drawings / "training")
        caption = "Training of all autoencoders of INRs"
        yield _report.Figure(path.with_suffix(".png"), "training", caption)


def _all_autoencoders(found: Found) -> dict[str, dict[str, Any]]:
    return found.of("reconstruction", "autoencode") | found.of("ablation", "autoencode")


def _error_table(
    found: Found, runs: Mapping[str, Mapping[str, Any]], caption: str
) -> _report.Table:
    columns = (
        *("encoder", "latent", "decoder", "MSE", "between pixels", "PSNR dB"),
        *("MSE to image", "… of the INR", "orbit spread", "parameters", "steps"),
        "time",
    )
    rows = []
    for name, results in runs.items():
        config: Any = found.plan[name].config
        latent = config.encoder.latent_size or config.encoder.width
        widths = "-".join(
            str(int(config.encoder.width * k))
            for k in config.decoder.hidden_multipliers
        )
        rows.append(
            (
                found.label(name),
                str(latent),
                widths or "-",
                *(_number(results.get(key)) for key in ("mse", "mse_off_grid")),
                _number(results.get("psnr"), ".2f"),
                *(_number(results.get(key)) for key in ("mse_image", "mse_image_inr")),
                _number(results.get("orbit_spread"), ".1e"),
                _number(results.get("num_parameters"), ",d"),
                _number(results.get("num_steps"), ",d"),
                _report_parts.time_of(found, name),
            )
        )
    return _report.Table(caption, columns, rows, found.only(runs))


def cell_tables(
    found: Found, name: str, cells: Sequence[Mapping[str, Any]]
) -> Iterator[_report.Table]:
    """Yield a table of paths for each family and noise level.

    Args:
      found: what there is.
      name: of the stage.
      cells: of its results.

    Yields:
      Tables; the loss is that to the image if there is one, else to network a.
    """
    groups = dict.fromkeys((cell["family"], cell["sigma"]) for cell in cells)
    columns = (
        *("method", "start", "middle", "end", "barrier", "barrier to a"),
        *("aligned exactly %", "seconds"),
    )
    for family, sigma in groups:
        rows = []
        for cell in cells:
            if (cell["family"], cell["sigma"]) != (family, sigma):
                continue
            main = _main(cell)
            rows.append(
                (
                    cell["label"],
                    *(_number(main[key]) for key in ("start", "middle", "end")),
                    _report_parts.with_error(main["barrier"], main["barrier_se"]),
                    _number(cell["own"]["barrier"]),
                    _report_parts.percent(cell["recovered"]),
                    _number(cell["seconds"], ".1f"),
                )
            )
        kind = "separate fits" if family == "fits" else f"{family} orbit"
        caption = f"{found.label(name)}: {kind}, noise {sigma:g}; MSE along the path"
        yield _report.Table(caption, columns, rows, found.only([name]))


def _paths(cells: Sequence[Mapping[str, Any]], encoder: str) -> dict[str, str]:
    """Return what of the PD orbit has been published, by key of the comparison."""
    by_name = {
        (cell["method"], cell["sigma"]): cell
        for cell in cells
        if cell["family"] == "PD" and cell.get("encoder") in (None, encoder)
    }
    ours = {}
    for method, short in (("naive", "naive"), ("reconstruct", "decoded")):
        if (cell := by_name.get((method, _NOISE))) is not None:
            main = _main(cell)
            for place in ("start", "middle", "end"):
                ours[f"{short}_{place}"] = f"{main[place]:.4f}"
            ours[f"barrier_{short}"] = f"{short} {main['barrier']:.4f}"
    ours["barrier"] = "; ".join(
        ours.pop(key) for key in ("barrier_naive", "barrier_decoded") if key in ours
    )
    for method, key in (("naive", "own_naive"), ("matching", "own_pd")):
        if (cell := by_name.get((method, 0.0))) is not None:
            ours[key] = f"{cell['own']['middle']:.4f}"
    for method, key in (("matching", "recovered_pd"), ("matching_p", "recovered_p")):
        if (cell := by_name.get((method, 0.0))) is not None:
            ours[key] = f"{_report_parts.percent(cell['recovered'])} %"
    ends = [by_name.get((method, _NOISE)) for method in ("reconstruct", "latent")]
    if None not in ends:
        middles = [_main(cell)["middle"] for cell in ends if cell]
        ours["latent"] = "{1:.4f} against {0:.4f} in the middle".format(*middles)
    return {key: value for key, value in ours.items() if value}


SECTIONS = {
    "reconstruction": _reconstruction,
    "latents": _latents,
    "interpolation": _interpolation,
    "failure": _failure,
    "ablation": _ablation,
}
