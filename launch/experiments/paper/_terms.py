"""What the words and names in the tables of a report mean."""

from experiments import harness

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
    "`mse`": "error of the decoded INR against the INR's own rendering",
    "`mse_image`, `mse_image_inr`": "error of the decoded INR, and of the INR itself,"
    " against the image",
    "`mse_off_grid`": "the same between the pixels, at points that no training saw",
    "`mse_without_...`": "the error when one part of the latent is replaced by its mean"
    " over the networks: what that part is worth where another tells the same",
    "`test_agreement`": "share of images that the decoded network puts into the class"
    " of the original",
    "`test_top_kept`": "share of their accuracy that the better half of the networks"
    " keep",
}


def table() -> harness.Table:
    """Return the terms as a table."""
    return harness.Table("", ("term", "meaning"), [*TERMS.items()])
