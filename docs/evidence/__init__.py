"""What `docs/make_results.py` makes RESULTS.md and its figures of: recorded sweeps, claims, tables, figures."""
