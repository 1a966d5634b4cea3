"""A stand-in model: an OpenAI-compatible server that answers by rule, so that Turnstream runs with no real model."""
