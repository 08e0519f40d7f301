"""Many runs from one file: a grid, random draws, seeds; here, on a Slurm cluster or with Ray.

`spec` reads the file, `folder` holds what is known of every point, `job` trains one of them in a
process of its own, `local` and `cluster` start jobs, `drive` watches them, `table` adds up. Nothing
but `job` and `drive.check_points` imports torch.
"""
