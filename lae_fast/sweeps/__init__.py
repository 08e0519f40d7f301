"""Many runs from one file: a grid, random draws, seeds; here, on a Slurm cluster or with Ray.

`spec` reads the file, `folder` records the points and how far each is, `job` trains one point in a
separate process, `local` and `cluster` start jobs, `drive` watches them, and `table` averages the
results over seeds. Only `job` and `drive.check_points` import torch.
"""
