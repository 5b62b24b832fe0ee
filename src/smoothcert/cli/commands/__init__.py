"""The commands, a file each: its options and what it does, or which module of `cli` does it.

`--help` imports all of these files, so they import nothing heavy before they run.
"""

from smoothcert.cli.commands.adapt import adapt
from smoothcert.cli.commands.certify import certify
from smoothcert.cli.commands.check import check
from smoothcert.cli.commands.compress import compress
from smoothcert.cli.commands.demo import demo
from smoothcert.cli.commands.doctor import doctor
from smoothcert.cli.commands.export import export
from smoothcert.cli.commands.extend import extend
from smoothcert.cli.commands.merge import merge
from smoothcert.cli.commands.model_card import model_card
from smoothcert.cli.commands.plan import plan
from smoothcert.cli.commands.predict import predict
from smoothcert.cli.commands.recertify import recertify
from smoothcert.cli.commands.report import report
from smoothcert.cli.commands.screen import screen
from smoothcert.cli.commands.search import search
from smoothcert.cli.commands.simulate import simulate
from smoothcert.cli.commands.train import train
from smoothcert.cli.commands.transfer import transfer
from smoothcert.cli.commands.verify import verify

COMMANDS = (
    *(
        demo,
        adapt,
        train,
        check,
        certify,
        extend,
        recertify,
        transfer,
        plan,
        screen,
        search,
        compress,
    ),
    *(report, model_card, export, merge, verify, predict, simulate, doctor),
)
"""In the order of `--help`."""
