"""A classifier that float noise certifies wrongly, and the exact noise of this package does not.

python experiments/float_noise_attack.py

The sum of a float32 pixel x and float32 noise e keeps low bits of x wherever it is smaller than e:
not every float y is x + e for some e. The classifier remembers one picture and says 0 if each
pixel could be that picture's pixel plus float noise, else 1. It is constructed for this purpose and
would not occur by accident, but a certificate is a claim about any function.

The usual sampler adds float noise, sees nothing but class 0 at the remembered picture, and
certifies a ball around it. In that ball lies a picture, 1/255 brighter in every pixel, at which the
same sampler certifies class 1. (After Jin, Ohrimenko & Rubinstein, arXiv 2205.10159.)
"""

import argparse
from dataclasses import dataclass
from math import dist

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.data.inputs import Inputs, to_float
from smoothcert.noise.law import RoundedGaussian

SIGMA, LEVELS, ALPHA = 0.25, 255, 0.001
LAW = RoundedGaussian(SIGMA, 1 / LEVELS)
PICTURES = np.stack([np.full((1, 8, 8), 5), np.full((1, 8, 8), 6)])
"""In grid steps: the one that is remembered, and one at a distance of 8/255 = 0.031."""
BATCH = 500


@dataclass(frozen=True, eq=False)
class Remembers:
    """Class 0 where every pixel is a float32 sum of the remembered pixel and some float32."""

    picture: NDArray[np.float32]
    name: str = "remembers"
    fingerprint: str = "remembers"
    device: str = "cpu"
    fixed_batch: int | None = None

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        # If any float works, the one nearest to the exact difference does.
        noise = (images.astype(np.float64) - self.picture).astype(np.float32)
        possible = (self.picture + noise == images).all(axis=(1, 2, 3))
        return np.stack([possible, ~possible], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Found:
    """Votes for the class that was certified at a picture, and the certified radius."""

    label: int
    votes: int
    n: int
    radius: float


def by_floats(classifier: Remembers, picture: NDArray[np.float32], n: int, seed: int) -> Found:
    """Randomized smoothing as it is usually written: `x + sigma * randn`, in float32."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(picture).repeat(BATCH, 1, 1, 1)

    def votes(batches: int) -> NDArray[np.int64]:
        noisy = (x + SIGMA * torch.randn(x.shape, generator=generator) for _ in range(batches))
        labels = [classifier.logits(images.numpy()).argmax(axis=1) for images in noisy]
        return np.bincount(np.concatenate(labels), minlength=2)

    label = int(votes(1).argmax())
    batches = n // BATCH
    k, n = int(votes(batches)[label]), batches * BATCH
    return Found(label, k, n, float(LAW.radius(binomial.lower(k, n, ALPHA))))


def by_integers(classifier: Remembers, n: int, seed: int) -> list[Found]:
    """The same at all pictures by this package."""
    inputs = Inputs.from_arrays(PICTURES / LEVELS, grid=1 / LEVELS)
    result = smoothcert.certify(classifier, inputs, SIGMA, n=n, alpha=ALPHA, seed=seed)
    found = (record.certificate for record in result.records)
    return [Found(c.candidate, c.k, c.n, c.radius) for c in found]


def refuted(here: Found, there: Found, distance: float) -> bool:
    """Whether votes at two pictures contradict what Gaussian smoothing allows at that distance.

    A class of probability p at one has at least Phi(Phi^-1(p) - distance / sigma) at the other
    (Cohen et al. 2019). The limits hold with probability 1 - ALPHA each.
    """
    p = float(binomial.lower(here.votes, here.n, ALPHA))
    least = special.ndtr(special.ndtri(p) - distance / SIGMA)
    votes = there.votes if there.label == here.label else there.n - there.votes
    return bool(binomial.upper(votes, there.n, ALPHA) < least)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    floats = to_float(PICTURES, LEVELS)
    classifier = Remembers(floats[0])
    distance = dist(*(PICTURES.reshape(2, -1) / LEVELS))
    print(f"Two pictures at a distance of {distance:.4f}; sigma {SIGMA}, alpha {ALPHA}.")
    for name, found in (
        ("float32 noise", [by_floats(classifier, x, args.n, args.seed) for x in floats]),
        ("exact noise", by_integers(classifier, args.n, args.seed)),
    ):
        for place, one in zip(("remembered", "brighter"), found, strict=True):
            print(
                f"{name:13} {place:10} class {one.label} on {one.votes:,} of {one.n:,} draws, "
                f"certified radius {one.radius:.3f}"
            )
        wrong = refuted(*found, distance)
        print(f"{name:13} {'CONTRADICTS ITSELF' if wrong else 'consistent'}")


if __name__ == "__main__":
    main()
