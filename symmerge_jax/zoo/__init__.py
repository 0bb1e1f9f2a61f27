"""Populations of networks: made, imported, stored, divided."""

from symmerge_jax.zoo._batches import batch_indices
from symmerge_jax.zoo._download_small_cnn import download_small_cnn_zoo
from symmerge_jax.zoo._fit_classifier import ZooOptions, fit_classifier
from symmerge_jax.zoo._fit_siren import SirenOptions, fit_sirens
from symmerge_jax.zoo._generate_classifiers import (
    SMALL_CNN,
    classifier_recipe,
    generate_classifier_zoo,
    load_or_train_classifiers,
)
from symmerge_jax.zoo._generate_sirens import (
    SIREN,
    generate_siren_zoo,
    load_or_fit_sirens,
)
from symmerge_jax.zoo._image_folder import load_image_folder
from symmerge_jax.zoo._images import (
    SOURCES,
    SPLIT_SOURCES,
    ImageSet,
    load_images,
    read_idx,
)
from symmerge_jax.zoo._import_dws import import_dws
from symmerge_jax.zoo._import_small_cnn import import_small_cnn
from symmerge_jax.zoo._import_torch import params_from_sequential, torch_layers
from symmerge_jax.zoo._sine import sin_cos_turns
from symmerge_jax.zoo._summary import summary
from symmerge_jax.zoo._torch_file import (
    find_torch_state_dict,
    is_torch_file,
    load_torch_state_dict,
)
from symmerge_jax.zoo._train_classifiers import (
    ClassifierTraining,
    EpochOptions,
    check_data,
    train_classifiers,
)
from symmerge_jax.zoo._zoo import (
    Zoo,
    check_finite,
    complete_architecture,
    concatenate,
    create,
    require_architecture,
    select,
    split,
    statistics,
)
from symmerge_jax.zoo._zoo_file import load, save

__all__ = [
    "SIREN",
    "SMALL_CNN",
    "SOURCES",
    "SPLIT_SOURCES",
    "ClassifierTraining",
    "EpochOptions",
    "ImageSet",
    "SirenOptions",
    "Zoo",
    "ZooOptions",
    "batch_indices",
    "check_data",
    "check_finite",
    "classifier_recipe",
    "complete_architecture",
    "concatenate",
    "create",
    "download_small_cnn_zoo",
    "find_torch_state_dict",
    "fit_classifier",
    "fit_sirens",
    "generate_classifier_zoo",
    "generate_siren_zoo",
    "import_dws",
    "import_small_cnn",
    "is_torch_file",
    "load",
    "load_image_folder",
    "load_images",
    "load_or_fit_sirens",
    "load_or_train_classifiers",
    "load_torch_state_dict",
    "params_from_sequential",
    "read_idx",
    "require_architecture",
    "save",
    "select",
    "sin_cos_turns",
    "split",
    "statistics",
    "summary",
    "torch_layers",
    "train_classifiers",
]
