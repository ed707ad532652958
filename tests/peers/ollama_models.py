"""Ollama's client at the server argv[1] with the model argv[2]: lists, chats and generates, streaming and not."""

import sys

import ollama

client = ollama.Client(host=sys.argv[1], timeout=60)
model = sys.argv[2]
messages = [{"role": "user", "content": "Tell me a tale."}]
options = {"num_predict": 5}

print("models", *sorted(known.model for known in client.list().models))
whole = client.chat(model=model, messages=messages, options=options)
print("chat", whole.eval_count, len(whole.message.content.split()), whole.done_reason)
pieces = list(client.chat(model=model, messages=messages, options=options, stream=True))
print("stream", sum(bool(piece.message.content) for piece in pieces), pieces[-1].done, pieces[-1].eval_count)
print("generate", len(client.generate(model=model, prompt="A tale.", options=options).response.split()))
try:
    client.chat(model="unknown", messages=messages)
except ollama.ResponseError as error:
    print("unknown", error.status_code)
