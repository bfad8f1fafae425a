"""A client of gRPC: makes one call through the gateway, and says what came of it as JSON.

python3 client.py TARGET CA CALL TOKEN"""

import json
import sys

import grpc

target, authority, call, token = sys.argv[1:5]
with open(authority, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.default_authority", "localhost"))
channel = grpc.secure_channel(target, credentials, options)
metadata = (("authorization", "Bearer " + token),) if token else ()
service, _, method = call.rpartition("/")
pieces = (b"a", b"b", b"c")
said = {"messages": []}


def say(message):
    said["messages"].append(message.decode())


try:
    if method in ("Unary", "Fails"):
        answer, made = channel.unary_unary(call).with_call(b"a", metadata=metadata, timeout=20)
        say(answer)
    elif method == "ServerStream":
        made = channel.unary_stream(call)(b"a", metadata=metadata, timeout=20)
        for message in made:
            say(message)
    elif method == "ClientStream":
        answer, made = channel.stream_unary(call).with_call(iter(pieces), metadata=metadata, timeout=20)
        say(answer)
    elif method == "Both":
        made = channel.stream_stream(call)(iter(pieces), metadata=metadata, timeout=20)
        for message in made:
            say(message)
    else:
        deadline = 1 if method == "Slow" and service.endswith("Deadline") else 60
        made = channel.unary_stream(call)(b"a", metadata=metadata, timeout=deadline)
        for message in made:
            say(message)
            print(json.dumps({"begun": True}), flush=True)
except grpc.RpcError as error:
    made = error
said["code"] = made.code().value[0]
said["details"] = made.details()
said["initial"] = {key: value for key, value in made.initial_metadata() or () if isinstance(value, str)}
said["trailing"] = {key: value for key, value in made.trailing_metadata() or () if isinstance(value, str)}
print(json.dumps(said), flush=True)
