"""Files that are never silently wrong: whole or absent, sealed, bounded, locked."""

from symmerge_jax.files._json import (
    SEAL,
    check_lengths,
    check_seal,
    parse_json,
    seal,
)
from symmerge_jax.files._lock import lock, making
from symmerge_jax.files._npz import has_member, read_npz, write_npz
from symmerge_jax.files._replace import naming, replacing, replacing_folder
from symmerge_jax.files._safetensors import (
    METADATA,
    Header,
    check_digest,
    is_storable,
    open_safetensors,
    read_safetensors,
    write_safetensors,
)

__all__ = [
    "METADATA",
    "SEAL",
    "Header",
    "check_digest",
    "check_lengths",
    "check_seal",
    "has_member",
    "is_storable",
    "lock",
    "making",
    "naming",
    "open_safetensors",
    "parse_json",
    "read_npz",
    "read_safetensors",
    "replacing",
    "replacing_folder",
    "seal",
    "write_npz",
    "write_safetensors",
]
