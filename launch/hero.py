"""Draw the picture of the README: twins, their canonical form, and two paths.

python launch/hero.py [--out=launch/results/hero.png]
"""

import jax
import numpy as np
from absl import flags
from matplotlib.figure import Figure

import symmerge_jax
from experiments import harness
from symmerge_jax import networks, plots, symmetry, zoo

OUT = flags.DEFINE_string("out", "launch/results/hero.png", "Picture to write.")
NUM_POINTS = 9


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    inrs = zoo.generate_siren_zoo(zoo.load_images("digits", num_images=16))
    siren = networks.build(inrs.architecture)
    digit = jax.tree.map(lambda leaf: leaf[2], inrs.params)
    twins = symmetry.sample_orbit(jax.random.key(0), digit, siren.spec, 3)
    canonical = symmerge_jax.canonicalize(twins, siren).params
    first, second = (symmetry.rows(twins, i) for i in range(2))
    found = symmerge_jax.align(first, second, siren)
    lams = np.linspace(0, 1, NUM_POINTS)
    pixels = networks.coordinate_grid(28, 28)
    images = [
        networks.render(siren, params, pixels).reshape(-1, 28, 28)
        for params in (
            twins,
            canonical,
            symmerge_jax.interpolate(first, second, lams),
            symmerge_jax.interpolate(first, found.params, lams),
        )
    ]
    weights = [params["dense_1"]["kernel"] for params in (twins, canonical)]
    plots.save_figure(draw(weights, *images), OUT.value or "")


def draw(weights, twins, canonical, naive, aligned):
    """Return the figure of weights, twice `[3, I, O]`, and images `[N, H, W]`."""
    figure = Figure(figsize=(8, 4.4), dpi=200)
    above, below = figure.add_gridspec(
        2, 1, height_ratios=(1.25, 1), hspace=0.22, left=0.1, right=0.99, top=0.94,
        bottom=0.02,
    )  # fmt: skip
    panels = above.subgridspec(2, 7, height_ratios=(2.2, 1), wspace=0.08, hspace=0.06)
    bound = np.abs(weights).max() / 2
    for start, title, kernels, images in (
        (0, "three twins: one function, three sets of weights", weights[0], twins),
        (4, "after canonicalize", weights[1], canonical),
    ):
        for column, (kernel, image) in enumerate(zip(kernels, images, strict=True)):
            axis = figure.add_subplot(panels[0, start + column])
            axis.imshow(kernel, cmap="RdBu", vmin=-bound, vmax=bound)
            if column == 1:
                axis.set_title(title, fontsize=10)
            label = "weights" if start + column == 0 else ""
            _plain(axis, label)
            axis = figure.add_subplot(panels[1, start + column])
            _picture(axis, image, label and "image")
    arrow = figure.add_subplot(panels[0, 3])
    arrow.axis("off")
    style = {"width": 2, "color": "black"}
    arrow.annotate("", (0.85, 0.5), (0.15, 0.5), arrowprops=style)
    paths = below.subgridspec(2, NUM_POINTS, wspace=0.08, hspace=0.06)
    for row, (label, path) in enumerate((("naive", naive), ("aligned", aligned))):
        for column, image in enumerate(path):
            axis = figure.add_subplot(paths[row, column])
            _picture(axis, image, label if column == 0 else "")
            if row == 0 and column == NUM_POINTS // 2:
                axis.set_title("weights averaged from the first twin to the second",
                               fontsize=10)  # fmt: skip
    return figure


def _picture(axis, image, label):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    _plain(axis, label)


def _plain(axis, label):
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)


if __name__ == "__main__":
    harness.run_main(main)
