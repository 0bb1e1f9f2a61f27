"""Zoos: populations of networks of one architecture.

Make one with `load_or_fit_sirens` or `load_or_train_classifiers`, which resume, or of
any networks with `create`. Import published ones with `import_dws` and
`import_small_cnn`. Keep one in a file with `save` and `load`; one that is larger than
the memory in many, with `save_shards`. Take parts with `split`,
by image, and `select`; join zoos with `concatenate`. `load_images` has data to fit to.
"""

from symmerge_jax.zoo._fit_classifier import ZooOptions
from symmerge_jax.zoo._fit_siren import SirenOptions
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
from symmerge_jax.zoo._images import (
    SOURCES,
    SPLIT_SOURCES,
    ImageSet,
    load_images,
)
from symmerge_jax.zoo._import_dws import import_dws
from symmerge_jax.zoo._import_small_cnn import download_small_cnn_zoo, import_small_cnn
from symmerge_jax.zoo._import_torch import params_from_sequential, torch_layers
from symmerge_jax.zoo._parts import (
    batch_indices,
    concatenate,
    select,
    split,
    statistics,
    summary,
)
from symmerge_jax.zoo._rows import Rows
from symmerge_jax.zoo._shards import is_sharded, load, save_shards
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
    create,
    require_architecture,
)
from symmerge_jax.zoo._zoo_file import save

__all__ = [
    "SIREN",
    "SMALL_CNN",
    "SOURCES",
    "SPLIT_SOURCES",
    "ClassifierTraining",
    "EpochOptions",
    "ImageSet",
    "Rows",
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
    "generate_classifier_zoo",
    "generate_siren_zoo",
    "import_dws",
    "import_small_cnn",
    "is_sharded",
    "load",
    "load_images",
    "load_or_fit_sirens",
    "load_or_train_classifiers",
    "params_from_sequential",
    "require_architecture",
    "save",
    "save_shards",
    "select",
    "split",
    "statistics",
    "summary",
    "torch_layers",
    "train_classifiers",
]
