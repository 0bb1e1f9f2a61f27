"""Files that are never silently wrong: whole or absent, sealed, bounded, locked."""

from symmerge_jax.files._json import (
    SEAL,
    check_lengths,
    check_seal,
    parse_json,
    seal,
)
from symmerge_jax.files._lazy import LazyArray
from symmerge_jax.files._lock import lock, making
from symmerge_jax.files._npz import has_member, open_npz, read_npz, write_npz
from symmerge_jax.files._orbax import plain_orbax_errors, quiet_orbax
from symmerge_jax.files._replace import naming, replacing, replacing_folder
from symmerge_jax.files._safetensors import (
    METADATA,
    Header,
    check_digest,
    is_storable,
    map_safetensors,
    open_safetensors,
    read_safetensors,
    rewrite_safetensors,
    write_safetensors,
)
from symmerge_jax.files._torch_file import (
    find_torch_state_dict,
    is_torch_file,
    load_torch_state_dict,
)

__all__ = [
    "METADATA",
    "SEAL",
    "Header",
    "LazyArray",
    "check_digest",
    "check_lengths",
    "check_seal",
    "find_torch_state_dict",
    "has_member",
    "is_storable",
    "is_torch_file",
    "load_torch_state_dict",
    "lock",
    "making",
    "map_safetensors",
    "naming",
    "open_npz",
    "open_safetensors",
    "parse_json",
    "plain_orbax_errors",
    "quiet_orbax",
    "read_npz",
    "read_safetensors",
    "replacing",
    "replacing_folder",
    "rewrite_safetensors",
    "seal",
    "write_npz",
    "write_safetensors",
]
