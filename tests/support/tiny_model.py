"""Writes a model that is small enough to be made anew in each test run: half a megabyte, which speaks at random.

It is a llama of two layers, in the GGUF file that a real inference server loads. Each byte is a token, so it reads any
text; its weights are noise from a fixed seed, so it has nothing to say. All that is arranged is how likely each token
is: answers are mostly visible characters, come to an end, and find their way into a tool call.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

CONTEXT = 4096  # tokens; a server may allow less
SEED = 1
LAYERS, WIDTH, HIDDEN, HEADS = 2, 64, 128, 4

END, CALL = "<|im_end|>", "<tool_call>"
# The tokens behind the 256 bytes. A server takes control tokens as its own, and lets a model say the others.
SPECIAL = {
    "<|im_start|>": TokenType.CONTROL,
    END: TokenType.CONTROL,
    "<think>": TokenType.USER_DEFINED,
    "</think>": TokenType.USER_DEFINED,
    CALL: TokenType.USER_DEFINED,
    "</tool_call>": TokenType.USER_DEFINED,
}
TOKENS = 256 + len(SPECIAL)

# Servers try a template out to learn how its model calls tools and thinks. Tools are shown by their names alone, as
# each of their bytes counts.
TEMPLATE = """
{%- if tools %}<|im_start|>system
Tools:{% for tool in tools %} {{ tool.function.name }}{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{%- if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] -%}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking %}<think>{% endif %}
{%- endif %}"""

type Weights = NDArray[np.float32]


def write_tiny_model(path: Path) -> None:
    """Write the model to a GGUF file."""
    writer = GGUFWriter(path, "llama")
    _add_shape(writer)
    _add_vocabulary(writer)
    for name, weights in _weights().items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(TOKENS)


def _add_vocabulary(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*_names_of_bytes(), *SPECIAL])
    writer.add_token_types([TokenType.NORMAL] * 256 + list(SPECIAL.values()))
    writer.add_token_merges(["a a"])  # a list may not be empty; what this one makes is no token, so it does nothing
    writer.add_eos_token_id(_token(END))
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE)


def _names_of_bytes() -> list[str]:
    """Return what GPT-2's vocabulary calls each byte: by its character if that is visible, else by one from 256 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in visible]
    return [chr(byte if byte in visible else 256 + others.index(byte)) for byte in range(256)]


def _token(special: str) -> int:
    return 256 + list(SPECIAL).index(special)


def _weights() -> dict[str, Weights]:
    random = np.random.default_rng(SEED)

    def noise(rows: int, columns: int) -> Weights:
        return random.standard_normal((rows, columns), dtype=np.float32) * np.float32(columns**-0.5)

    even = np.ones(WIDTH, np.float32)
    embedding = noise(TOKENS, WIDTH) * np.float32(WIDTH**0.5)
    output = noise(TOKENS, WIDTH) * np.float32(0.7)
    # No layer changes the first number of a token's vector, so the output can add to each token's odds by it.
    embedding[:, 0] = 4
    output[:, 0] = _odds()
    weights = {"token_embd": embedding, "output_norm": even, "output": output}
    for layer in range(LAYERS):
        block = {
            "attn_norm": even,
            "attn_q": noise(WIDTH, WIDTH),
            "attn_k": noise(WIDTH, WIDTH),
            "attn_v": noise(WIDTH, WIDTH),
            "attn_output": noise(WIDTH, WIDTH),
            "ffn_norm": even,
            "ffn_gate": noise(HIDDEN, WIDTH),
            "ffn_up": noise(HIDDEN, WIDTH),
            "ffn_down": noise(WIDTH, HIDDEN),
        }
        block["attn_output"][0] = block["ffn_down"][0] = 0
        weights |= {f"blk.{layer}.{name}": values for name, values in block.items()}
    return {f"{name}.weight": values for name, values in weights.items()}


def _odds() -> Weights:
    """Return how likely each token is, on a logarithmic scale of no particular unit."""
    odds = np.full(TOKENS, -3, np.float32)  # control characters and other alphabets, now and then
    odds[ord(" ") : ord("~") + 1] = 0
    odds[_token(END)] = 0.6  # one in 15
    odds[_token(CALL)] = 0.6  # one in 15
    return odds
