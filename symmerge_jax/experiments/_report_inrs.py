"""Sections of the report about INRs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from symmerge_jax.experiments import _published, _report, _report_parts

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
        for name in runs:
            yield from found.figure(name, "curves", "training")
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
    for name in found.of("latents"):
        yield _report_parts.plain_table(found, name)
        yield from _report_parts.all_figures(found, name)
    yield _report_parts.comparison(_published.LATENTS, ours)


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
        ours |= _paths(results["cells"])
    yield _report_parts.comparison(_published.INTERPOLATION, ours)


def _failure(found: Found) -> Iterator[_report.Block]:
    """Show the pair of twins that a permutation-only encoder parts the most."""
    for name in found.of("failure"):
        yield _report_parts.plain_table(found, name)
        yield from _report_parts.all_figures(found, name)
    yield _report_parts.comparison(_published.FAILURE, {})


def _ablation(found: Found) -> Iterator[_report.Block]:
    """Compare encoders without a part, with twins, and of other sizes."""
    runs = found.of("ablation", "autoencode")
    if runs:
        first = dict(list(found.of("reconstruction", "autoencode").items())[:1])
        caption = "The same training with a part left out or changed"
        yield _error_table(found, {**first, **runs}, caption)
        for name in runs:
            yield from found.figure(name, "curves", "training")
    ours = {
        f"spread_{name}": f"{results['orbit_spread']:.1e} (trained)"
        for name, results in _all_autoencoders(found).items()
    }
    for name, results in list(runs.items())[:1]:
        ours["mse"] = f"{results['mse']:.4f} ({found.label(name)})"
    yield _report_parts.comparison(_published.ABLATION, ours)


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
        widths = "-".join(str(latent * k) for k in config.decoder.hidden_multipliers)
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
            main = cell.get("image", cell["own"])
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


def _paths(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what of the PD orbit has been published, by key of the comparison."""
    by_name = {
        (cell["method"], cell["sigma"]): cell
        for cell in cells
        if cell["family"] == "PD"
    }
    ours = {}
    for method, short in (("naive", "naive"), ("reconstruct", "decoded")):
        if (cell := by_name.get((method, _NOISE))) is not None:
            main = cell.get("image", cell["own"])
            for place in ("start", "middle", "end"):
                ours[f"{short}_{place}"] = f"{main[place]:.4f}"
            ours[f"barrier_{short}"] = f"{short} {main['barrier']:.4f}"
    ours["barrier"] = "; ".join(
        ours.pop(key) for key in ("barrier_naive", "barrier_decoded") if key in ours
    )
    for method, key in (("naive", "own_naive"), ("matching_pd", "own_pd")):
        if (cell := by_name.get((method, 0.0))) is not None:
            ours[key] = f"{cell['own']['middle']:.4f}"
    for method in ("matching_pd", "matching_p"):
        if (cell := by_name.get((method, 0.0))) is not None:
            key = method.replace("matching", "recovered")
            ours[key] = f"{_report_parts.percent(cell['recovered'])} %"
    ends = [by_name.get((method, _NOISE)) for method in ("reconstruct", "latent")]
    if None not in ends:
        middles = [cell.get("image", cell["own"])["middle"] for cell in ends if cell]
        ours["latent"] = "{1:.4f} against {0:.4f} in the middle".format(*middles)
    return {key: value for key, value in ours.items() if value}


SECTIONS = {
    "reconstruction": _reconstruction,
    "latents": _latents,
    "interpolation": _interpolation,
    "failure": _failure,
    "ablation": _ablation,
}
