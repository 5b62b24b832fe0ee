"""Certify-and-recertify simulated on published per-image logs; no model is run."""
