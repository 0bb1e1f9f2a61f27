"""The whole paper: stages, their state, and the report."""
