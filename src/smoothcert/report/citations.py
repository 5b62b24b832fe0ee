"""The theorems that certificates rest on, and how to cite them."""

from collections.abc import Iterable
from dataclasses import dataclass

from smoothcert.vocabulary import RESULTS, Result


@dataclass(frozen=True)
class Citation:
    """A source, what it is cited for, and its BibTeX entry."""

    what: str
    source: str
    bibtex: str = ""


_LIMITS = Citation(
    "Limits of probabilities",
    "Clopper & Pearson, The use of confidence or fiducial limits illustrated in the case of the "
    "binomial, Biometrika 26 (1934)",
    """@article{clopper1934use,
  author = {Clopper, C. J. and Pearson, E. S.},
  title = {The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial},
  journal = {Biometrika}, volume = {26}, number = {4}, pages = {404--413}, year = {1934}
}""",
)
_RADIUS = Citation(
    "From a probability to an ℓ₂ radius (Theorem 1)",
    "Cohen, Rosenfeld & Kolter, Certified adversarial robustness via randomized smoothing, "
    "ICML 2019",
    """@inproceedings{cohen2019certified,
  author = {Cohen, Jeremy and Rosenfeld, Elan and Kolter, J. Zico},
  title = {Certified Adversarial Robustness via Randomized Smoothing},
  booktitle = {International Conference on Machine Learning}, year = {2019}
}""",
)
_NOISE = Citation(
    "Why the noise is an exact law on the input's grid",
    "Voráček & Hein, Sound randomized smoothing in floating-point arithmetics, ICLR 2023",
    """@inproceedings{voracek2023sound,
  author = {Vor{\\'a}{\\v c}ek, V{\\'a}clav and Hein, Matthias},
  title = {Sound Randomized Smoothing in Floating-Point Arithmetics},
  booktitle = {International Conference on Learning Representations}, year = {2023}
}""",
)
_INCREMENTAL = Citation(
    "Reusing the original's draws (IRS, Theorem 2)",
    "Ugare, Suresh, Banerjee, Singh & Misailovic, Incremental randomized smoothing "
    "certification, ICLR 2024",
    """@inproceedings{ugare2024incremental,
  author = {Ugare, Shubham and Suresh, Tarun and Banerjee, Debangshu and Singh, Gagandeep and
            Misailovic, Sasa},
  title = {Incremental Randomized Smoothing Certification},
  booktitle = {International Conference on Learning Representations}, year = {2024}
}""",
)
_BETTING = Citation(
    "Deciding one radius by betting",
    "Voráček, Treatment of statistical estimation problems in randomized smoothing for "
    "adversarial robustness, NeurIPS 2024",
    """@inproceedings{voracek2024treatment,
  author = {Vor{\\'a}{\\v c}ek, V{\\'a}clav},
  title = {Treatment of Statistical Estimation Problems in Randomized Smoothing for Adversarial
           Robustness},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024}
}""",
)
_POOLING = Citation(
    "Flips pooled over inputs (Theorem 4)",
    "Hoeffding, On the distribution of the number of successes in independent trials, Annals of "
    "Mathematical Statistics 27 (1956)",
    """@article{hoeffding1956distribution,
  author = {Hoeffding, Wassily},
  title = {On the Distribution of the Number of Successes in Independent Trials},
  journal = {The Annals of Mathematical Statistics}, volume = {27}, number = {3},
  pages = {713--721}, year = {1956}
}""",
)
_JOINT = Citation(
    "One error budget for cache and replay", "smoothcert, docs/theory.md, sections 7 and 8"
)
_EXACT = Citation(
    "The exact test of cache and replay (smoothcert, docs/theory.md, section 13)",
    "Buehler, Confidence intervals for the product of two binomial parameters, Journal of the "
    "American Statistical Association 52 (1957)",
    """@article{buehler1957confidence,
  author = {Buehler, Robert J.},
  title = {Confidence Intervals for the Product of Two Binomial Parameters},
  journal = {Journal of the American Statistical Association}, volume = {52}, number = {280},
  pages = {482--493}, year = {1957}
}""",
)
_TOGETHER = Citation("All certificates of a run together", "smoothcert, docs/theory.md, section 11")
_SCREENED = Citation("Dataset certificates", "smoothcert, docs/theory.md, section 10")

_BY_SECTION = {7: (_JOINT,), 8: (_JOINT,), 9: (_BETTING,), 13: (_EXACT,)}


def citations(methods: Iterable[str]) -> tuple[Citation, ...]:
    """What to cite for certificates by these methods (and `screen`), each source once."""
    found = [_RADIUS, _LIMITS, _NOISE]
    for method in sorted(set(methods)):
        found += (_INCREMENTAL, _SCREENED, _POOLING) if method == "screen" else _of(RESULTS[method])
    return tuple(dict.fromkeys([*found, _TOGETHER]))


def _of(result: Result) -> tuple[Citation, ...]:
    """What to cite in addition to what every certificate rests on."""
    reused = (_INCREMENTAL,) if result.reuses else ()
    return (*reused, *_BY_SECTION.get(result.section, ()))
