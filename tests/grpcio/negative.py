"""gRPC's negative HTTP/2 interop client by a stock grpcio: `negative.py ADDRESS CASE`.

It tells one line of JSON for each call: the size of the response's payload, or the name of the status code.
"""

import concurrent.futures
import json
import sys

import grpc

RESPONSE_SIZE = 314159
REQUEST_SIZE = 271828


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def large_unary(method):
    """The procedure of all cases: grpc.testing.SimpleRequest by hand, so that no generated code is needed."""
    request = varint(2 << 3) + varint(RESPONSE_SIZE) + field(3, field(2, bytes(REQUEST_SIZE)))
    try:
        response = method(request, timeout=60, wait_for_ready=True)
    except grpc.RpcError as error:
        return error.code().name
    # A payload within a response, each behind a key and a length of three bytes.
    return len(response) - 8


def main():
    address, case = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary("/grpc.testing.TestService/UnaryCall")
        results = [large_unary(method)]
        if case == "goaway":
            results.append(large_unary(method))
        if case == "max_streams":
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                results += pool.map(lambda _: large_unary(method), range(10))
    print(json.dumps(results), flush=True)


main()
