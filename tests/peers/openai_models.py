"""OpenAI's client at the server argv[1] does what the other arguments say, and prints a line of JSON for each.

Such an argument is JSON: `{"do": "models"}`, `{"do": "chat", "model": M, "stream": B, "tokens": N}`,
`{"do": "leave", …}` the same but gone after the first piece, or `{"do": "many", …, "count": N}` as many at once.
"""

import json
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=60)


def chat(order):
    asked = dict(
        model=order["model"],
        max_tokens=order.get("tokens", 8),
        # Each conversation is another, or they would all go where the first one was.
        messages=[{"role": "user", "content": f"{uuid.uuid4()} Tell me a tale."}],
    )
    try:
        if not order.get("stream"):
            whole = client.chat.completions.create(**asked)
            return {"model": whole.model, "tokens": whole.usage.completion_tokens, "end": whole.choices[0].finish_reason}
        pieces, usage, end, model = 0, None, None, None
        stream = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        for chunk in stream:
            model = chunk.model
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces += bool(choice.delta.content)
                end = choice.finish_reason or end
            if pieces and order["do"] == "leave":
                stream.close()
                return {"left": True}
        return {"model": model, "pieces": pieces, "tokens": usage and usage.completion_tokens, "end": end}
    except openai.APIStatusError as error:
        return {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
    except openai.APIError as error:
        return {"error": type(error).__name__, "message": str(error)}


for order in map(json.loads, sys.argv[2:]):
    if order["do"] == "models":
        told = sorted(model.id for model in client.models.list())
    elif order["do"] == "many":
        with ThreadPoolExecutor(order["count"]) as pool:
            told = list(pool.map(chat, [order] * order["count"]))
    else:
        told = chat(order)
    print(json.dumps(told))
