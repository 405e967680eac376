"""What one layer does to the variance of one input and to the correlation of two."""
