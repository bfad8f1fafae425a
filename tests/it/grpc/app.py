"""An app that speaks gRPC, without TLS: all four kinds of call, of plain bytes."""

import sys
import time
from concurrent import futures

import grpc


def who(context):
    return dict(context.invocation_metadata()).get("x-auth-user", "nobody").encode()


def unary(request, context):
    context.send_initial_metadata((("x-app", "there"),))
    context.set_trailing_metadata((("x-last", "word"),))
    return who(context) + b":" + request


def fails(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such note: é")


def server_stream(request, context):
    for number in range(3):
        yield b"%d:%s" % (number, request)


def client_stream(requests, context):
    return b",".join(requests)


def both(requests, context):
    for request in requests:
        yield who(context) + b":" + request


def slow(request, context):
    context.add_callback(lambda: print("cancelled", flush=True))
    yield b"begun"
    while context.is_active():
        time.sleep(0.02)


class Handler(grpc.GenericRpcHandler):
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fails": grpc.unary_unary_rpc_method_handler(fails),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Slow": grpc.unary_stream_rpc_method_handler(slow),
    }

    def service(self, details):
        print("called", details.method, flush=True)
        return self.methods.get(details.method.rsplit("/", 1)[1])


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("port", port, flush=True)
sys.stdin.read()
server.stop(None)
