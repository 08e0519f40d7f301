"""What several test files use: inputs, stand-ins, run folders, laws that are known."""
