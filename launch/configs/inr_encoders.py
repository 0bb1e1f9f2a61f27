"""The same autoencoder of MNIST INRs with one encoder or another, weights alone.

python launch/train.py --config=launch/configs/inr_encoders.py:neural_graphs

All variants have the zoo, the width, the decoder, the loop and the number of steps in
common, so that their errors, latents and times can be compared. Minutes on two CPU
cores each.

    scale_gmn               invariant to permutations and signs (the default)
    linear_messages         the same with linear messages, at the same number of steps
    ablated                 without its canonicaliser: permutations only (the ablation
                            of Boufalis et al. 2025, arXiv 2511.12601)
    permutation             the graph metanetwork for permutations (their baseline)
    neural_graphs           Neural Graphs, PNA (Kofinas et al. 2024, arXiv 2403.12143)
    relational_transformer  Neural Graphs, attention
    neural_graphs_twins     Neural Graphs that read a new random twin in every step:
                            signs learned from data instead of built in
    deep_weight_space       DWSNets (Navon et al. 2023, arXiv 2301.12780)
    probe                   outputs at learned points instead of weights; quick, for
                            trying sizes of latent and decoder
"""

from configs import mnist_inr_cpu
from experiments import harness


@harness.variants(
    "scale_gmn",
    "linear_messages",
    "ablated",
    "permutation",
    "neural_graphs",
    "relational_transformer",
    "neural_graphs_twins",
    "deep_weight_space",
    "probe",
)
def get_config(variant: str):
    config = mnist_inr_cpu.get_config("probe" if variant == "probe" else "default")
    if variant != "probe":
        config.encoder.num_probes = 0
    config.num_steps = 3000
    config.batch_size = 32
    config.num_microbatches = 4
    config.evaluate_every = 300
    if variant == "linear_messages":
        config.encoder.messages = "linear"
        config.encoder.bidirectional = True
        config.num_microbatches = 1
    elif variant == "ablated":
        config.encoder.ablate_symmetry = True
    elif variant == "permutation":
        config.encoder.symmetry = "permutation"
    elif variant in ("neural_graphs", "neural_graphs_twins", "relational_transformer"):
        config.encoder.kind = variant.removesuffix("_twins")
        config.encoder.input_value = 0.0
        config.augment = variant.endswith("_twins")
    elif variant == "deep_weight_space":
        config.encoder.kind = variant
    return config
