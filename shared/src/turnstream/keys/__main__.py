"""`python -m turnstream.keys`: make, list and revoke API keys in the database that the environment names."""

import argparse
import sys

from turnstream.keys.command import add_actions, run
from turnstream.settings import PostgresSettings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m turnstream.keys", description=__doc__)
    add_actions(parser)
    options = parser.parse_args()
    sys.exit(run(options, PostgresSettings()))
