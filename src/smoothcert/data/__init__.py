"""Data as people have it: inputs on an integer grid, from arrays, pictures, tables and hubs."""
