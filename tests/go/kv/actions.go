// What kv_host does when told:
//
//	put KEY VALUE, get KEY, ping      the plugin's calls; ping asks for its health
//	kill                              ends the plugin: `ok graceful`, or `ok forced` if Shutdown did not end it
//	exited                            whether the plugin's process has ended
//	version                           the negotiated protocol version
//	reattach-config                   as JSON
//	broker-accept ID                  brokers a store, in which `name` is `host`, and serves it to the end
//	broker-dial ID KEY                asks the service that the plugin brokers under ID
//	leave                             ends this program, and not the plugin
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"kv"
)

// session is a plugin that has been started.
type session struct {
	host     *plugin.Client
	protocol plugin.ClientProtocol
	client   *client
	log      *forcedEnds
	brokered *store
}

// act does one action and prints its line.
func (s *session) act(line string) {
	words := strings.SplitN(line, " ", 3)
	words = append(words, "", "")
	value, err := s.do(words[0], words[1], words[2])
	if err != nil {
		tell("error", err.Error())
		return
	}
	tell("ok", value)
}

func (s *session) do(action string, first string, second string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch action {
	case "put":
		_, err := s.client.Put(ctx, &kv.PutRequest{Key: first, Value: []byte(second)})
		return "", err
	case "get":
		return get(ctx, s.client, first)
	case "ping":
		return "", s.protocol.Ping()
	case "kill":
		return s.kill(), nil
	case "exited":
		return fmt.Sprint(s.host.Exited()), nil
	case "version":
		return fmt.Sprint(s.host.NegotiatedVersion()), nil
	case "reattach-config":
		return s.reattachConfig()
	case "broker-accept":
		return "", s.accept(first)
	case "broker-dial":
		return s.dial(ctx, first, second)
	case "leave":
		tell("ok", "")
		os.Exit(0)
	}
	return "", fmt.Errorf("kv_host knows no action %q", action)
}

func get(ctx context.Context, from kv.KVClient, key string) (string, error) {
	response, err := from.Get(ctx, &kv.GetRequest{Key: key})
	if err != nil {
		return "", err
	}
	return string(response.Value), nil
}

func (s *session) kill() string {
	before := s.log.count
	s.host.Kill()
	if s.log.count > before {
		return "forced"
	}
	return "graceful"
}

func (s *session) reattachConfig() (string, error) {
	config := s.host.ReattachConfig()
	if config == nil {
		return "", errors.New("there is no reattach config")
	}
	told := reattachment{Protocol: string(config.Protocol), Pid: config.Pid}
	told.Addr.Network, told.Addr.String = config.Addr.Network(), config.Addr.String()
	text, err := json.Marshal(told)
	return string(text), err
}

// accept returns when the plugin has been told of the service.
func (s *session) accept(id string) error {
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return err
	}
	s.brokered.values["name"] = []byte("host")
	announced, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.client.broker.AcceptAndServe(uint32(number), func(options []grpc.ServerOption) *grpc.Server {
			close(announced)
			return withStore(s.brokered)(options)
		})
	}()
	select {
	case <-announced:
		return nil
	case <-ended:
		return errors.New("AcceptAndServe ended early; the log has its reason")
	}
}

func (s *session) dial(ctx context.Context, id string, key string) (string, error) {
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return "", err
	}
	conn, err := s.client.broker.Dial(uint32(number))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return get(ctx, kv.NewKVClient(conn), key)
}
