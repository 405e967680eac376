"""Ensembles of finite networks, drawn, measured layer by layer, and compared with theory."""
