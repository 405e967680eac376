"""Time and error side by side, against what one would use instead: `python -m benchmarks`."""
