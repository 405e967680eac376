"""Dynamical isometry: whether a deep network can keep all singular values of its Jacobian at 1.

The package is not called `isometry`, because `meanfield.isometry` is a function.
"""
