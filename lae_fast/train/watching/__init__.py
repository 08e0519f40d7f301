"""What watches a training: running means, warnings, validation, pictures."""
