"""What `benchmarks/fuzz.py` mutates and reads, by kind of file."""
