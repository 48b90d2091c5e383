// The plugin of go-plugin's gRPC example, with its values in memory: `kv_plugin [--versions 1,2] [--offer ID]`.
//
// A Get of `broker/ID/KEY` asks the service that the host brokers under ID for KEY. With `--offer`, the plugin brokers a
// store of its own, in which `name` is `brokered`. It ends on Shutdown.
package main

import (
	"context"
	"flag"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"

	"kv"
)

// asking is a store that also asks what the host brokers.
type asking struct {
	*store
	broker *plugin.GRPCBroker
}

func (a *asking) Get(ctx context.Context, request *kv.GetRequest) (*kv.GetResponse, error) {
	parts := strings.SplitN(request.Key, "/", 3)
	if len(parts) < 3 || parts[0] != "broker" {
		return a.store.Get(ctx, request)
	}
	id, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return nil, err
	}
	conn, err := a.broker.Dial(uint32(id))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return kv.NewKVClient(conn).Get(ctx, &kv.GetRequest{Key: parts[2]})
}

func main() {
	list := flag.String("versions", "1", "the protocol versions it serves")
	offer := flag.Uint("offer", 0, "the id under which it brokers a second store")
	flag.Parse()
	var versions []int
	for _, text := range strings.Split(*list, ",") {
		version, err := strconv.Atoi(text)
		if err != nil {
			panic(err)
		}
		versions = append(versions, version)
	}

	serve := func(broker *plugin.GRPCBroker) kv.KVServer {
		if *offer != 0 {
			second := newStore()
			second.values["name"] = []byte("brokered")
			go broker.AcceptAndServe(uint32(*offer), withStore(second))
		}
		return &asking{store: newStore(), broker: broker}
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versioned(versions, &kvPlugin{serve: serve}),
		GRPCServer:       server,
	})
}
