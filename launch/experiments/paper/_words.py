"""What a report says beside its numbers: titles, captions, and what words mean."""

TITLES = {
    "data": "Data",
    "reconstruction": "Reconstruction of INRs",
    "latents": "Latent space and orbits",
    "interpolation": "Interpolation of INRs",
    "failure": "Failure mode",
    "ablation": "Ablations",
    "cnns": "CNNs: autoencoders and merging",
    "prediction": "The encoders' own tasks: classification, prediction of accuracy",
}
"""By section of the report."""

KEY_FIGURES = {
    "data": ("psnr",),
    "reconstruction": ("mse_image", "mse_image_inr"),
    "latents": ("scale_gmn", "others"),
    "interpolation": ("naive_middle", "latent"),
    "failure": ("failure",),
    "ablation": ("spread_scale_gmn", "spread_ablated"),
    "cnns": ("accuracy", "merge"),
    "prediction": ("mnist_scale_gmn", "tau_relu", "tau_tanh"),
}
"""Lines of the comparison with published numbers that the summary shows."""

LISTS = {
    "autoencode": "Autoencoders of INRs, on networks that they have not seen",
    "autoencode_classifiers": "Autoencoders of CNNs, on networks that they have not"
    " seen",
    "predict": "Predictions from weights alone, on networks that were held out",
}
"""Captions of the measures of stages, side by side, by experiment."""

FIGURES = {
    "autoencode": {"reconstructions": "held-out INRs and their reconstructions"},
    "autoencode_classifiers": {
        "accuracies": "accuracy of networks and reconstructions"
    },
    "failure_mode": {
        "paths_image": "error against the image along the path",
        "renderings": "what lies between the farthest twins of the first network",
    },
    "interpolate": {
        "paths_image": "error against the image along the path",
        "paths_own": "error against network a along the path",
        "noise": "barrier and middle of the path against the noise",
    },
    "map_latents": {
        "maps": "held-out networks in the plane",
        "orbits": "the same with the twins of one network",
        "distances": "distances of latents, twins of one network side by side",
    },
    "merge_cnns": {
        "paths": "accuracy and loss along the path",
        "crowd": "accuracy of means of crowds",
    },
    "predict": {
        "confusion": "classes, true and predicted",
        "accuracies": "accuracies, true and predicted",
    },
}
"""Captions by the names of files, by experiment."""

TERMS = {
    "INR": "implicit neural representation: a network that maps a coordinate to the"
    " value of one image there; here a SIREN",
    "twin": "a network with the same function: neurons permuted, signs flipped or"
    " scales changed",
    "P, D, PD orbit": "all twins of a network by permutations (P), by signs or positive"
    " scales (D), or by both",
    "orbit spread": "largest distance of a twin's latent from the mean of its orbit,"
    " relative to the length of that mean; 0 for an invariant encoder",
    "`between_networks`": "the same distance between different networks, for scale",
    "separate fits": "networks trained on one image from different starts, no twins",
    "naive": "the straight line between two networks as they are",
    "matching": "permutations and scales that bring the weights together (Ainsworth et"
    " al. 2023), exact for twins without noise",
    "decoded": "the line between what an autoencoder makes of the two networks",
    "barrier": "the most that the loss on the path exceeds the line between the losses"
    " of its ends",
    "repair": "statistics of the merged network estimated again, on images or on none",
    "crowd": "more than two networks, merged into their mean",
    "silhouette": "how clearly latents fall into two parts: 1 for two distant points, 0"
    " for one cloud",
    "probe": "a linear classifier of the labels, trained on latents, on weights in"
    " closed canonical form, or on weights",
    "tau": "Kendall's rank correlation: 1 for the same order",
    "`mse_image`, `mse_image_inr`": "error of the decoded INR, and of the INR itself,"
    " against the image",
    "`mse_off_grid`": "the error between the pixels, where no training looked",
    "`test_top_kept`": "share of their accuracy that the better half of the networks"
    " keep",
}
"""Words and names in the tables of a report, and what they mean."""
