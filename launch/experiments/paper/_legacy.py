"""Tables of experiments that return none of their own yet."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments import harness


def number(value: Any, form: str = ".4f") -> str:
    """Return a number as text, `-` for None and for what is not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:{form}}"


def percent(value: Any, error: Any = None) -> str:
    """Return a fraction as per cent, with its standard error if there is one."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def with_error(value: Any, error: Any, form: str = ".4f") -> str:
    """Return a number with its standard error, if there is one."""
    text = number(value, form)
    finite = error is not None and math.isfinite(error)
    return f"{text} ± {error:{form}}" if finite else text


def _map_tables(results: Mapping[str, Any]) -> Iterator[harness.Table]:
    """Yield what latents know of their networks, and how tight orbits are."""
    lines = results["encoders"] | results["baselines"]
    read = number if results["values"] == "accuracy" else percent
    unit = "tau" if results["values"] == "accuracy" else "%"
    rows = [
        (encoder, *(read(line[key]) for key in ("neighbors", "linear")))
        for encoder, line in lines.items()
    ]
    near = f"{results['num_neighbors']} nearest neighbours {unit}"
    caption = (
        f"what is read from them, {results['num_networks']}"
        f" held-out networks, {results['num_train']} others to learn from"
    )
    columns = ("encoder", near, f"linear {unit}")
    yield harness.Table(caption, columns, rows)
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
                    *(number(orbit["spread"], ".1e"), number(orbit["within"], ".2e")),
                    *(number(orbit["between"], ".3g"), number(orbit["ratio"], ".1e")),
                    percent(orbit["found"]),
                    number(orbit["two_parts"], ".2f"),
                    percent(orbit["smaller_part"]),
                )
            )
        caption = (
            f"{family} orbits of {results['num_orbits']} networks,"
            f" {results['num_twins']} twins each"
        )
        yield harness.Table(caption, columns, rows)


def _failure_table(results: Mapping[str, Any]) -> harness.Table:
    rows = []
    for encoder, line in results["encoders"].items():
        for kind in ("farthest", "random"):
            for method in line[kind]["methods"].values():
                main = _main(method)
                rows.append(
                    (
                        *(encoder, kind),
                        number(line[kind]["distance"]["mean"], ".1e"),
                        method["label"],
                        *(number(main[key]) for key in ("start", "middle", "end")),
                        with_error(main["barrier"], main["barrier_se"]),
                    )
                )
    columns = (
        *("encoder", "twins", "distance of latents", "method", "start", "middle"),
        *("end", "barrier"),
    )
    caption = (
        f"MSE along the path between the twins whose latents are"
        f" farthest apart, and between random ones; {results['num_networks']} networks,"
        f" {results['num_twins']} {results['family']} twins each"
    )
    return harness.Table(caption, columns, rows)


def _main(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the numbers against the image if there is one, else against network a."""
    return cell.get("image", cell["own"])


def cell_tables(cells: Sequence[Mapping[str, Any]]) -> Iterator[harness.Table]:
    """Yield a table of paths for each family and noise level."""
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
                    *(number(main[key]) for key in ("start", "middle", "end")),
                    with_error(main["barrier"], main["barrier_se"]),
                    number(cell["own"]["barrier"]),
                    percent(cell["recovered"]),
                    number(cell["seconds"], ".1f"),
                )
            )
        kind = "separate fits" if family == "fits" else f"{family} orbit"
        caption = f"{kind}, noise {sigma:g}; MSE along the path"
        yield harness.Table(caption, columns, rows)


def _pair_table(results: Mapping[str, Any]) -> harness.Table:
    rows = []
    parents = results["parents"]
    accuracy, loss = parents["accuracy"], parents["loss"]
    rows.append(
        (
            *("(the two networks)", "", "-"),
            percent(accuracy["mean"], accuracy["se"]),
            *("-", number(loss["mean"]), "-", "-"),
        )
    )
    for method in results["methods"].values():
        for repair, numbers in method["repairs"].items():
            losses, drop = numbers["loss"], numbers["drop"]
            rows.append(
                (
                    method["label"],
                    "images" if method["uses_data"] else "weights",
                    repair,
                    _middle(method, repair),
                    percent(drop["mean"], drop["se"]),
                    number(losses["middle"]),
                    with_error(losses["barrier"], losses["barrier_se"]),
                    number(method["seconds_per_pair"], ".3f"),
                )
            )
    columns = (
        *("method", "sees", "repair", "accuracy in the middle %", "drop"),
        *("loss in the middle", "barrier of the loss (nats)", "seconds per pair"),
    )
    caption = (
        f"{len(results['pairs'])} pairs of independently trained"
        f" CNNs, {results['num_test_images']} images"
    )
    return harness.Table(caption, columns, rows)


def _crowd_table(crowd: Mapping[str, Any]) -> harness.Table:
    rows = [
        ("mean of the members", "-", *(percent(x["mean"]) for x in crowd["members"]))
    ]
    for method in crowd["methods"].values():
        for repair, numbers in method["repairs"].items():
            values = (percent(x["mean"]) for x in numbers["accuracy"])
            rows.append((method["label"], repair, *values))
    columns = ("method", "repair", *(f"{size} networks" for size in crowd["sizes"]))
    caption = "accuracy in % of the mean of k networks"
    return harness.Table(caption, columns, rows)


def _middle(method: Mapping[str, Any], repair: str) -> str:
    error = method["repairs"][repair]["error"]
    return percent(1 - error["middle"], error["middle_se"])


def tables(experiment: str, results: dict[str, Any]) -> list[harness.Table]:
    """Return the tables of the results of an experiment."""
    if experiment == "map_latents":
        return [*_map_tables(results)]
    if experiment == "failure_mode":
        return [_failure_table(results)]
    if experiment == "interpolate":
        return [*cell_tables(results["cells"])]
    if experiment == "merge_cnns":
        found = [_pair_table(results)] if results["methods"] else []
        return found + ([_crowd_table(results["crowd"])] if "crowd" in results else [])
    flat = {k: v for k, v in results.items() if not isinstance(v, dict | list)}
    return [harness.measures("", flat)]
