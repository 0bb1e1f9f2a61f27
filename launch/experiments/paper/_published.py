"""Numbers that others have published, with their sources, to stand beside ours."""

from typing import NamedTuple


class Published(NamedTuple):
    """A number that was published, or the remark that none was.

    Attributes:
      key: what ours is called in the section of the report.
      quantity: what was measured.
      value: as published.
      source: where, and how far it is to be trusted.
    """

    key: str
    quantity: str
    value: str
    source: str


NONE = "published: no number"

_PAPER = "Boufalis et al. 2025, arXiv 2511.12601"
_EARLY = (
    "early figure in the authors' development repository: one INR, PD orbit, noise"
    " 0.005, 10 steps"
)
_MODULES = "counted on the authors' public modules"
_FIGURES = "seen in the authors' figures"
_REPRODUCED = "independent reproduction on one published orbit of a digit 6"
_TABLE_1 = (
    "Kalogeropoulos et al. 2024, arXiv 2406.10685, Table 1, third-party transcript"
)
_MEMORY = "Kalogeropoulos et al. 2024, arXiv 2406.10685; unconfirmed"
_RERUN = "a third party's rerun of the authors' code"
_NFN = "Zhou et al. 2023, arXiv 2302.14040, Table 2, third-party summary"

DATA = (
    Published("std", "standard deviation of the weights of layers 1, 2, 3 of the INRs",
              "0.0628, 0.0183, 0.1179", "MNIST-INRs of Navon et al. 2023, training"
              " split, statistics in the authors' code"),
    Published("psnr", "quality of the INRs", NONE, "Navon et al. 2023, arXiv"
              " 2301.12780"),
    Published("cnns", "CNNs in the zoo (ReLU; tanh)", "15,130; 14,869",
              "Small CNN Zoo, CIFAR-10-GS; counts of ScaleGMN's paper, unconfirmed"),
)  # fmt: skip

RECONSTRUCTION = (
    Published("mse_image", "MSE of the decoded INR to the image, ScaleGMN", "0.015",
              _EARLY),
    Published("mse_image_inr", "MSE of the INR itself to the image", "0.005", _EARLY),
    Published("mse", "MSE to the INR's own rendering", NONE, _PAPER),
    Published("scale_gmn", "parameters, ScaleGMN autoencoder", "2,708,769", _MODULES),
    Published("permutation", "parameters, permutations only", "1,501,473", _MODULES),
    Published("neural_graphs", "parameters, Neural Graphs (PNA)", "1,990,945",
              _MODULES),
)  # fmt: skip

LATENTS = (
    Published("clusters", "clusters of the t-SNE map of test latents",
              "10, nearly disjoint; 4/9 and 3/5/8 adjacent", _FIGURES),
    Published("scale_gmn", "PD orbit of a digit 2, ScaleGMN",
              "one point; distances constant at about 3.5e-4", _FIGURES),
    Published("others", "PD orbit of a digit 2, Neural Graphs and ScaleGMN without"
              " canonicaliser", "two blobs", _FIGURES),
    Published("probe", "accuracy of a linear probe", NONE, _PAPER),
)  # fmt: skip

INTERPOLATION = (
    Published("naive_start", "naive, noise 0.005, MSE to the image at the start",
              "0.005", _EARLY),
    Published("naive_middle", "naive, noise 0.005, in the middle", "0.17 to 0.178",
              _EARLY),
    Published("naive_end", "naive, noise 0.005, at the end", "0.097", _EARLY),
    Published("decoded_start", "decoded (ScaleGMN), noise 0.005, at the start", "0.015",
              _EARLY),
    Published("decoded_end", "decoded (ScaleGMN), noise 0.005, at the end", "0.027",
              _EARLY),
    Published("barrier", "barriers", NONE, _PAPER),
    Published("own_naive", "naive, no noise, MSE to the INR's rendering in the middle",
              "0.306", _REPRODUCED),
    Published("own_pd", "matching PD from the identity, no noise, in the middle",
              "0.019", _REPRODUCED),
    Published("recovered_pd", "pairs that matching PD aligns exactly", "75 %",
              f"{_REPRODUCED}; 99.4 % for another INR"),
    Published("recovered_p", "pairs that matching P aligns exactly", "0 %",
              _REPRODUCED),
    Published("latent", "decoded latents against decoded weights", "on par",
              f"{_PAPER}, figure 8, third-party summary"),
)  # fmt: skip

FAILURE = (
    Published("failure", "barrier of the pair farthest apart on the map of Neural"
              " Graphs", NONE, _PAPER),
)  # fmt: skip

ABLATION = (
    Published("mse", "MSE without canonicaliser, or with permutations only", NONE,
              _PAPER),
    Published("spread_scale_gmn", "spread of an orbit's latents, ScaleGMN", "4.1e-7",
              "independent reproduction, untrained weights, float32"),
    Published("spread_ablated", "the same without canonicaliser", "8.0e-3",
              "independent reproduction, untrained weights, float32"),
    Published("spread_permutation", "the same with permutations only", "2.7e-3",
              "independent reproduction, untrained weights, float32"),
    Published("sizes", "decoders and latent sizes", "a sweep, without results",
              "configs of the authors' repository"),
)  # fmt: skip

CNNS = (
    Published("accuracy", "accuracy kept, L1, R² and tau of decoded CNNs", NONE,
              _PAPER),
    Published("merge", "accuracy and loss between independently trained CNNs",
              f"{NONE}; figures only", _PAPER),
)  # fmt: skip

PREDICTION = (
    Published("mnist_scale_gmn", "MNIST INRs classified, ScaleGMN", "96.57 %",
              _TABLE_1),
    Published("mnist_scale_gmn_b", "MNIST INRs, ScaleGMN bidirectional", "96.59 %",
              f"{_TABLE_1}; confirmed"),
    Published("mnist_neural_graphs", "MNIST INRs, Neural Graphs", "91.40 %", _TABLE_1),
    Published("mnist_dws", "MNIST INRs, DWSNets; NFN-HNP; NFN-NP",
              "85.71; 79.11; 78.50 %", _TABLE_1),
    Published("fashion_scale_gmn", "Fashion-MNIST INRs, ScaleGMN", "80.46 %",
              f"{_TABLE_1}; 83.2 % in {_RERUN}"),
    Published("fashion_scale_gmn_b", "Fashion-MNIST INRs, ScaleGMN bidirectional",
              "80.78 %", f"{_TABLE_1}; confirmed"),
    Published("fashion_permutation", "Fashion-MNIST INRs, permutations only", "82.3 %",
              _RERUN),
    Published("fashion_neural_graphs", "Fashion-MNIST INRs, Neural Graphs", "68.00 %",
              _TABLE_1),
    Published("fashion_dws", "Fashion-MNIST INRs, DWSNets; NFN-HNP; NFN-NP",
              "67.06; 68.94; 68.19 %", _TABLE_1),
    Published("cifar", "CIFAR-10 INRs, ScaleGMN; bidirectional; Neural Graphs",
              "36.43; 38.82; 36.04 %", _TABLE_1),
    Published("tau_relu", "accuracy of ReLU CNNs predicted, tau, ScaleGMN", "0.928",
              _MEMORY),
    Published("tau_tanh", "accuracy of tanh CNNs predicted, tau, ScaleGMN", "0.942",
              _MEMORY),
    Published("tau_ng", "the same, Neural Graphs, ReLU; tanh", "0.901; 0.934",
              _MEMORY),
    Published("tau_statnn", "the same, weight statistics, ReLU; tanh",
              "0.914; 0.914", _MEMORY),
    Published("tau_all", "all activations: statistics; NFN-NP; NFN-HNP",
              "0.915; 0.922; 0.934", _NFN),
    Published("dilation", "dilation of MNIST INRs, MSE x 100, ScaleGMN bidirectional",
              "1.89", "ScaleGMN's paper, third-party transcript"),
)  # fmt: skip

SECTIONS = {
    "data": DATA,
    "reconstruction": RECONSTRUCTION,
    "latents": LATENTS,
    "interpolation": INTERPOLATION,
    "failure": FAILURE,
    "ablation": ABLATION,
    "cnns": CNNS,
    "prediction": PREDICTION,
}
"""By section of the report of a reproduction."""
