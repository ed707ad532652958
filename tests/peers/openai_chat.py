"""Streams one chat completion from the server at argv[1] and prints each piece as it comes."""

import sys

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
stream = client.chat.completions.create(
    model="tale",
    messages=[{"role": "user", "content": "Tell me a tale."}],
    stream=True,
)
for chunk in stream:
    choice = chunk.choices[0]
    if choice.delta.content:
        print(choice.delta.content)
    if choice.finish_reason:
        print(choice.finish_reason)
