"""`Simulation.compare`: theory against ensemble."""


class Comparison:
    """Later."""
