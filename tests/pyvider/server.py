"""pyvider's KV plugin, as launched by a host: `server.py [--unix [PATH] | --tcp] [--no-mtls] [--verify] [--versions 1,2]`.

It speaks TLS when the host sends a certificate, unless `--no-mtls`. Of itself pyvider verifies no host; with `--verify`
the host's certificate is the one root of clients. What is put under `stdout` and `stderr` also goes to GRPCStdio.
"""

import argparse
import asyncio
import os

import kv

os.environ.update(kv.COOKIE)

options = argparse.ArgumentParser()
options.add_argument("--unix", nargs="?", const="", metavar="PATH")
options.add_argument("--tcp", action="store_true")
options.add_argument("--no-mtls", action="store_true")
options.add_argument("--verify", action="store_true")
options.add_argument("--versions", default="1")
options = options.parse_args()
if options.no_mtls:
    os.environ["PLUGIN_AUTO_MTLS"] = "false"
if options.verify and os.environ.get("PLUGIN_CLIENT_CERT"):
    os.environ["PLUGIN_CLIENT_ROOT_CERTS"] = os.environ["PLUGIN_CLIENT_CERT"]

import grpc  # noqa: E402
from pyvider.rpcplugin import plugin_server  # noqa: E402
from pyvider.rpcplugin.protocol import RPCPluginProtocol, service  # noqa: E402


class Stdio(service.GRPCStdioService):
    """The one stdio service, which pyvider keeps to itself."""

    def __init__(self):
        super().__init__()
        Stdio.served = self


service.GRPCStdioService = Stdio


class Store:
    def __init__(self):
        self.values = {}

    async def get(self, request, context):
        if request.key not in self.values:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'no key "{request.key}"')
        return kv.GetResponse(value=self.values[request.key])

    async def put(self, request, _context):
        self.values[request.key] = request.value
        if request.key in ("stdout", "stderr"):
            await Stdio.served.put_line(request.value, is_stderr=request.key == "stderr")
        return kv.Empty()


class Protocol(RPCPluginProtocol):
    service_name = kv.SERVICE
    supported_protocol_versions = [int(version) for version in options.versions.split(",")]

    async def get_grpc_descriptors(self):
        return None, kv.SERVICE

    async def add_to_server(self, server, handler):
        def unary(function, request, response):
            return grpc.unary_unary_rpc_method_handler(function, request.FromString, response.SerializeToString)

        methods = {
            "Get": unary(handler.get, kv.GetRequest, kv.GetResponse),
            "Put": unary(handler.put, kv.PutRequest, kv.Empty),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(kv.SERVICE, methods),))


async def main():
    transport = "tcp" if options.tcp else "unix"
    server = plugin_server(Protocol(), Store(), transport=transport, transport_path=options.unix or None)
    await server.serve()


asyncio.run(main())
