"""A gRPC server without a schema: messages are bytes. Prints the port that it listens on.

`/Tale/Echo` gives one message back, `/Tale/Count` streams as many as it is asked for, `/Tale/Chat` answers each of a stream,
`/Tale/Fail` ends with a status of its own. Each call is answered with metadata at its beginning and its end.
"""

from concurrent.futures import ThreadPoolExecutor

import grpc


def begin(context):
    context.send_initial_metadata((("begun", "yes"),))
    context.set_trailing_metadata((("ended", "well"), ("sum-bin", b"\x00\xff")))


def echo(message, context):
    begin(context)
    return message


def count(message, context):
    begin(context)
    for number in range(int(message)):
        yield str(number).encode()


def chat(messages, context):
    begin(context)
    for message in messages:
        yield message.upper()


def fail(message, context):
    begin(context)
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more täles")


handlers = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
}
server = grpc.server(ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Tale", handlers),))
print("port", server.add_insecure_port("127.0.0.1:0"))
server.start()
server.wait_for_termination()
