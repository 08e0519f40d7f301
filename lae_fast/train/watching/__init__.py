"""What a training is watched by: running means, warnings, validation, pictures."""
