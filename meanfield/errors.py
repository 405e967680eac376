"""What can go wrong, as exceptions: each is a `ValueError` whose message names a way out."""

__all__ = ["MeanFieldError", "NoCriticalPointError", "NotElementwiseError", "UnresolvedError"]


class MeanFieldError(ValueError):
    """Base of every error that this package raises about a value."""


class NotElementwiseError(MeanFieldError):
    """The callable is no activation: not elementwise, random, shape-changing, or not real."""


class UnresolvedError(MeanFieldError):
    """The activation could not be sampled to working accuracy, or a moment does not converge."""


class NoCriticalPointError(MeanFieldError):
    """No weight and bias variances put the network on the edge of chaos as asked."""


for _error in (MeanFieldError, NotElementwiseError, UnresolvedError, NoCriticalPointError):
    _error.__module__ = "meanfield"
