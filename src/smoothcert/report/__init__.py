"""Runs to tables, figures and a page; only this package imports matplotlib and Jinja."""
