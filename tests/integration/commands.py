"""`hafen`, with all that its commands may import: what typist.py forks."""

import importlib
import pkgutil
import sys

import deploy.cli
from deploy.cli.main import main

# What commands import when they run; a command that needs more only takes longer.
_MORE = ("deploy.client", "deploy.compose", "deploy.lab.ready", "node_agent.oci.archive")

for _name in [
    *(module.name for module in pkgutil.iter_modules(deploy.cli.__path__, "deploy.cli.")),
    *_MORE,
]:
    importlib.import_module(_name)

if __name__ == "__main__":
    sys.argv[0] = "hafen"
    main()
