"""The figures of Bisht 2023 and De León Martínez 2024: nats per image, error per pixel, shares.

Bisht 2023 prints sums of batch means divided by the number of images; they are converted here:
errors by 5000 (and a decade that the printed exponent lacks), validation accuracies and losses of
the probe by 1000 (training ones by 1017), losses of table 7 by 126.6.
"""

from __future__ import annotations

RECONSTRUCTION = {
    "VAE z=2": (141.74, 0.0366),
    "VAE z=8": (103.08, 0.0159),
    "VAE z=16": (98.80, 0.0129),
    "LAE z=2": (136.04, 0.0372),
    "LAE z=8": (85.92, 0.0155),
    "LAE z=16": (68.16, 0.0084),
    "LAE z=2, T=10": (132.90, 0.0358),
    "LAE z=2, T=50": (134.36, 0.0365),
    "LAE z=2, MH": (136.24, 0.0374),
}
"""Tables 1 to 3: validation "BCE" (the VAE's includes the KL term) and squared error."""

PROBE = {
    "VAE z=2": (0.559, 1.338, 0.550, 1.375),
    "LAE z=2": (0.380, 1.669, 0.352, 1.760),
    "VAE z=8": (0.736, 0.742, 0.732, 0.758),
    "LAE z=8": (0.807, 0.618, 0.797, 0.868),
    "VAE z=16": (0.721, 0.806, 0.709, 0.842),
    "LAE z=16": (0.814, 0.869, 0.753, 1.519),
    "LAE z=2, T=10": (0.434, 1.644, 0.377, 1.870),
    "LAE z=2, T=50": (0.450, 1.684, 0.382, 1.895),
    "LAE z=2, MH": (0.516, 1.471, 0.495, 1.534),
}
"""Tables 4 to 6: accuracy and cross-entropy, validation and training."""

NEIGHBOURS = {
    "none": (0.9566, 0.146),
    "LAE z=2, N=2": (0.9421, 0.221),
    "VAE z=2, N=2": (0.9399, 0.224),
    "LAE z=2, N=5": (0.9291, 0.270),
    "VAE z=2, N=5": (0.9261, 0.270),
}
"""Table 7: accuracy and loss; two latents are our inference."""

ATTACK = {
    "none": ((0.9469, 0.1702), (0.7085, 0.8187), (0.1318, 3.2136), (0.0016, 6.6067)),
    "LAE z=2, N=2": ((0.9303, 0.2523), (0.6642, 0.9044), (0.1131, 2.9268), (0.0033, 5.5999)),
    "VAE z=2, N=2": ((0.9266, 0.2630), (0.6340, 0.9968), (0.1116, 3.2381), (0.0035, 6.1211)),
    "LAE z=2, N=5": ((0.9131, 0.3044), (0.6262, 0.9958), (0.1060, 3.0319), (0.0041, 5.6184)),
    "VAE z=2, N=5": ((0.9083, 0.3114), (0.6089, 1.0703), (0.1032, 3.3443), (0.0041, 6.1619)),
}
"""Tables 8 and 9: accuracy and loss at each radius."""

VAE_MSE, VAE_NOISY_MSE, VAE_KEPT = 0.01732, 0.02115, 0.984
"""De León Martínez 2024: squared error, that with noise, share of MNIST inside mean +- 2 sd."""
