"""`python -m turnstream_worker`: run a worker, set up by the environment."""

from turnstream import process
from turnstream_worker.app import serve
from turnstream_worker.settings import WorkerSettings

if __name__ == "__main__":
    process.run("worker", WorkerSettings(), serve)
