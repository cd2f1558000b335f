"""Whether the visitors of an A/B test were split as planned."""

from __future__ import annotations

from dataclasses import dataclass

from .arguments import check_share, whole
from .distributions import chi_square_above
from .results import Result


@dataclass(frozen=True, kw_only=True, repr=False)
class SampleRatio(Result):
    """Whether visitors were split as planned. `share`, `expected`: of the treatment."""

    control: int
    treatment: int
    share: float
    expected: float
    chi_square: float
    p: float
    alpha: float

    @property
    def mismatch(self) -> bool:
        return self.p < self.alpha

    def __repr__(self) -> str:
        verdict = (
            "mismatch: something loses or adds visitors of one arm; trust no result before it is found"
            if self.mismatch
            else "as planned"
        )
        return (
            f"{self.control:,} visitors in control, {self.treatment:,} in treatment: {100 * self.share:.3f} % where "
            f"{100 * self.expected:.3f} % were planned\np = {self.p:.3g} (chi-square {self.chi_square:.3f}): {verdict}"
        )


def sample_ratio(control: int, treatment: int, *, expected: float = 0.5, alpha: float = 0.001) -> SampleRatio:
    """Check that the visitors of the arms were split as planned, before any metric is looked at.

    Parameters
    ----------
    control, treatment : int
        Visitors.
    expected : float
        The share of visitors meant for the treatment.
    alpha : float
        Below it p is a mismatch; small, since every test is checked and a mismatch voids it.

    Returns
    -------
    SampleRatio
        p of the chi-square test with one degree of freedom.

    Raises
    ------
    ValueError
        A count that is negative or broken, no visitors at all, expected or alpha not between 0 and 1.

    References
    ----------
    Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019.

    Examples
    --------
    >>> sample_ratio(50_000, 49_200).mismatch
    False
    >>> sample_ratio(50_000, 48_000).mismatch
    True
    """
    for name, visitors in (("control", control), ("treatment", treatment)):
        whole("sample_ratio", name, visitors)
    check_share("sample_ratio", "expected", expected)
    check_share("sample_ratio", "alpha", alpha)
    n = control + treatment
    if n == 0:
        raise ValueError("sample_ratio: there are no visitors in either arm")
    chi_square = (treatment - n * expected) ** 2 / (n * expected * (1 - expected))
    return SampleRatio(
        control=int(control),
        treatment=int(treatment),
        share=treatment / n,
        expected=expected,
        chi_square=chi_square,
        p=chi_square_above(chi_square, 1),
        alpha=alpha,
    )
