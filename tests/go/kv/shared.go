// What host.go and plugin.go have in common: the handshake, a store, and the two ends of the plugin.
package main

import (
	"context"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"kv"
)

const pluginName = "kv_grpc"

var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "BASIC_PLUGIN",
	MagicCookieValue: "hello",
}

// store is a proto.KV in memory.
type store struct {
	lock   sync.Mutex
	values map[string][]byte
}

func newStore() *store { return &store{values: make(map[string][]byte)} }

func (s *store) Get(_ context.Context, request *kv.GetRequest) (*kv.GetResponse, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	value, known := s.values[request.Key]
	if !known {
		return nil, status.Errorf(codes.NotFound, "no key %q", request.Key)
	}
	return &kv.GetResponse{Value: value}, nil
}

func (s *store) Put(_ context.Context, request *kv.PutRequest) (*kv.Empty, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.values[request.Key] = request.Value
	return &kv.Empty{}, nil
}

// server makes the gRPC servers of both ends, with reflection.
func server(options []grpc.ServerOption) *grpc.Server {
	made := grpc.NewServer(options...)
	reflection.Register(made)
	return made
}

// withStore makes servers of a store, as brokers want them.
func withStore(served *store) func([]grpc.ServerOption) *grpc.Server {
	return func(options []grpc.ServerOption) *grpc.Server {
		made := server(options)
		kv.RegisterKVServer(made, served)
		return made
	}
}

// client is what a host dispenses.
type client struct {
	kv.KVClient
	broker *plugin.GRPCBroker
}

// kvPlugin is the plugin as go-plugin wants it; only a plugin serves something.
type kvPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	serve func(*plugin.GRPCBroker) kv.KVServer
}

func (p *kvPlugin) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	kv.RegisterKVServer(server, p.serve(broker))
	return nil
}

func (p *kvPlugin) GRPCClient(
	_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn,
) (interface{}, error) {
	return &client{KVClient: kv.NewKVClient(conn), broker: broker}, nil
}

// versioned offers the plugin under each of the versions.
func versioned(versions []int, offered *kvPlugin) map[int]plugin.PluginSet {
	sets := make(map[int]plugin.PluginSet)
	for _, version := range versions {
		sets[version] = plugin.PluginSet{pluginName: offered}
	}
	return sets
}
