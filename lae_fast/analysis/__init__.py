"""What a trained model can do: one module for each command that uses one."""
