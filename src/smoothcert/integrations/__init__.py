"""Parts for other frameworks; each needs that framework, and nothing else needs them."""
