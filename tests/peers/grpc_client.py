"""Makes calls of each kind to the gRPC server at argv[1], and prints what came of them."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    echo = channel.unary_unary("/Tale/Echo")
    large = bytes(range(256)) * 4096
    answer, call = echo.with_call(large, timeout=30)
    assert answer == large, "the echo differs"
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    print("echo", len(answer), call.code().name, initial["begun"], trailing["ended"], trailing["sum-bin"].hex())

    numbers = [int(number) for number in channel.unary_stream("/Tale/Count")(b"1000", timeout=30)]
    print("count", len(numbers), numbers == sorted(numbers))

    said = iter([b"once", b"upon", b"a time"])
    print("chat", b" ".join(channel.stream_stream("/Tale/Chat")(said, timeout=30)).decode())

    try:
        channel.unary_unary("/Tale/Fail")(b"", timeout=30)
    except grpc.RpcError as error:
        print("fail", error.code().name, error.details(), dict(error.trailing_metadata())["ended"])

    try:
        channel.unary_unary("/Tale/None")(b"", timeout=30)
    except grpc.RpcError as error:
        print("none", error.code().name)

    with ThreadPoolExecutor(8) as pool:
        calls = [str(number).encode() for number in range(300)]
        print("many", sum(echo(call, timeout=30) == call for call in calls[:100]), list(pool.map(echo, calls)) == calls)
