"""The maps by which one layer takes variances and correlations to the next."""
