"""The program that an inference server's process runs: llama.cpp's server on a model, until it is killed."""

import argparse
import signal
from pathlib import Path

import xllamacpp

SLOTS = 4  # answers at a time
THOUGHT = 10  # tokens a model that thinks may think for


def main() -> None:
    """Serve the model that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of a prompt and its answer")
    parser.add_argument("--shared", action="store_true", help="let answers that run at a time share one context")
    parser.add_argument("--thinking", action="store_true", help="let answers begin with a thought")
    parser.add_argument("--endless", action="store_true", help="let answers go on until the context is full")
    asked = parser.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = str(asked.model)
    params.model_alias = {asked.model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = asked.port
    params.n_ctx = asked.context if asked.shared else asked.context * SLOTS
    params.kv_unified = asked.shared
    params.n_parallel = SLOTS
    params.cpuparams.n_threads = 1  # the model is too small to be shared out
    params.endpoint_metrics = True
    params.enable_reasoning = int(asked.thinking)
    params.default_template_kwargs = {"enable_thinking": "true"} if asked.thinking else {}
    params.sampling.reasoning_budget_tokens = THOUGHT if asked.thinking else -1
    params.sampling.ignore_eos = asked.endless
    params.sampling.seed = 1
    _server = xllamacpp.Server(params)  # serves from threads of its own, while it is referred to
    signal.pause()


if __name__ == "__main__":
    main()
