"""Train models that read weights."""
