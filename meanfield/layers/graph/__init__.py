"""Graph networks: aggregation over neighbours as a layer, and networks made of it."""
