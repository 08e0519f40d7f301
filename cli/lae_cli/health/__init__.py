"""Whether this machine can train: the doctor's checks, and the benchmarks."""
