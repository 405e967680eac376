r"""How deep a network of some width tells most: the information that its outputs share.

Outputs of a random network tell of each other only because they fluctuate together: that is what
depth learns to represent, and at infinite width there is none of it. Of `m` neurons of a layer the
density is spherical, and over that of independent Gaussians of the same variance it is

    p/phi = 1 + r L_2(t) + O(1/n^2) L_3(t) + ...,   t = |z|^2 / 2K,   r = V4/(n K^2)

in the Laguerre polynomials `L_k` of order `m/2 - 1`, which are orthogonal there. So a Gaussian has
more entropy by `E[(p/phi - 1)^2]/2 - E[(p/phi - 1)^3]/6 = r^2 m(m + 2)/16 - r^3 E[L_2^3]/6`, with
`E[L_2^3] = m^3/8 + 5 m^2/4 + 2 m`, to the order 1/n^3. Two groups of `m_1` and `m_2` neurons share

    I = m_1 m_2 / 8 (r^2 - (20 + 3 m)/6 r^3),   m = m_1 + m_2

which is largest at `r = 4/(20 + 3 m)`, however the neurons are divided. Where `r = nu L/n` that is
an aspect ratio `L/n = 4/((20 + 3 m) nu)`, with `nu` 5 for ReLU and 2/3 for tanh.

Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, section A.3, whose result this is; derived
here.
"""

__all__ = ["most_telling"]


def most_telling(outputs: int) -> float:
    """The `r` at which `m` outputs share most."""
    return 4 / (20 + 3 * outputs)
