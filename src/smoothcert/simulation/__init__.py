"""Certification and recertification simulated on published per-image logs; no model is run."""
