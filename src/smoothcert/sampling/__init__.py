"""Inputs on a grid, noise on the same grid, and the one loop that runs a classifier under it."""
