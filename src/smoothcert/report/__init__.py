"""Runs to tables, figures and a page; only here are matplotlib and a template engine imported."""
