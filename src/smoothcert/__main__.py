"""`python -m smoothcert` is the command `smoothcert`."""

from smoothcert.cli.main import app

app(prog_name="smoothcert")
