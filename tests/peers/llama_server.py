"""llama.cpp's own server, from the wheel `xllamacpp`, with a model that it makes on the spot: argv[1] is the model's name.

The model is a llama of one layer with random weights. What it says makes no sense, but it is said by the real thing: the
real tokeniser, the real slots and the real HTTP. Prints the port that it listens on, and serves until it is killed.
"""

import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy
import xllamacpp

WIDTH, HEADS, INNER, CONTEXT, SLOTS = 64, 4, 128, 16384, 2

# What it may say. Every other byte has a token too, so that it can read anything.
WORDS = [f"\u2581{start}{end}" for start in ("ba", "do", "ki", "lu", "me", "no", "pa", "ru") for end in ("la", "mo", "ne", "ri")]
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


def write(path, name):
    """A GGUF file that llama.cpp loads, the same for each name."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)

    kind = gguf.TokenType
    tokens = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kind.BYTE) for byte in range(256)]
    spoken = len(tokens)
    tokens += [(word, kind.NORMAL) for word in WORDS]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    random = numpy.random.default_rng(list(name.encode()))
    matrix = lambda rows, columns: (random.standard_normal((rows, columns)) * 0.2).astype(numpy.float32)
    ones = lambda: numpy.ones(WIDTH, dtype=numpy.float32)
    output = matrix(len(tokens), WIDTH)
    # Whatever it thinks, it says one of its words, and never that it is done.
    output[:spoken] = 0
    writer.add_tensor("token_embd.weight", matrix(len(tokens), WIDTH))
    writer.add_tensor("output_norm.weight", ones())
    writer.add_tensor("output.weight", output)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{part}.weight", matrix(WIDTH, WIDTH))
    for part, rows, columns in (("ffn_gate", INNER, WIDTH), ("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)):
        writer.add_tensor(f"blk.0.{part}.weight", matrix(rows, columns))
    for part in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{part}.weight", ones())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.gguf"
    write(path, sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {sys.argv[1]}
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = CONTEXT * SLOTS, SLOTS
    params.n_gpu_layers, params.warmup = 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics = params.endpoint_slots = True
    server = xllamacpp.Server(params)
    print("port", server.listening_address.rsplit(":", 1)[1])
    while True:
        time.sleep(3600)
