"""The noise law, exact on the grid of the inputs, and the kernels that make its draws."""
