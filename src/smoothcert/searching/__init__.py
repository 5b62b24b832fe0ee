"""The smallest compressed model that is proven to be robust enough, found on one cache."""
