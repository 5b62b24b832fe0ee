"""Data sets: inputs on an integer grid, read from arrays, image files, tables and hubs."""
