// A host that multiplexes, with hashicorp's yamux, as go-plugin's do since 1.6: `mux_host NETWORK ADDRESS`.
//
// It checks the health of `plugin` over the first stream and tells it, then does what each line of its standard input says:
//
//	dial ID      knocks, and checks the health of what answers over the next stream
//	accept ID    serves health to whoever knocks for ID
//	health       checks the plugin's health once more
//
// Each prints one line: `ok [VALUE]` or `error TEXT`.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	plugin "broker"
)

const patience = 30 * time.Second

type host struct {
	session *yamux.Session
	stream  plugin.GRPCBroker_StartStreamClient
	answers chan *plugin.ConnInfo
	knocks  chan *plugin.ConnInfo
}

// one is a listener that gives its one connection.
type one struct {
	net.Conn
	given chan net.Conn
}

func (o *one) Accept() (net.Conn, error) {
	conn, ok := <-o.given
	if !ok {
		return nil, errors.New("there are no more")
	}
	return conn, nil
}
func (o *one) Addr() net.Addr { return o.Conn.LocalAddr() }
func (o *one) Close() error   { return nil }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mux_host:", err)
		os.Exit(2)
	}
}

func tell(value string, err error) {
	if err != nil {
		fmt.Println("error " + strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Println(strings.TrimRight("ok "+value, " "))
}

// over makes a client of the next stream.
func (h *host) over() (*grpc.ClientConn, error) {
	return grpc.Dial("unused", grpc.WithInsecure(), grpc.WithBlock(), grpc.WithTimeout(patience),
		grpc.WithDialer(func(string, time.Duration) (net.Conn, error) { return h.session.Open() }))
}

func check(conn *grpc.ClientConn, service string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request := &grpc_health_v1.HealthCheckRequest{Service: service}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	if err != nil {
		return "", err
	}
	return answer.Status.String(), nil
}

func await(from chan *plugin.ConnInfo) (*plugin.ConnInfo, error) {
	select {
	case info := <-from:
		return info, nil
	case <-time.After(patience):
		return nil, errors.New("nothing came")
	}
}

func (h *host) dial(id uint32) (string, error) {
	knock := &plugin.ConnInfo_Knock{Knock: true}
	if err := h.stream.Send(&plugin.ConnInfo{ServiceId: id, Knock: knock}); err != nil {
		return "", err
	}
	answer, err := await(h.answers)
	if err != nil {
		return "", err
	}
	if !answer.Knock.Ack || answer.Knock.Error != "" {
		return "", fmt.Errorf("the knock for %d is refused: %s", answer.ServiceId, answer.Knock.Error)
	}
	conn, err := h.over()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return check(conn, "")
}

func (h *host) accept(id uint32) (string, error) {
	knock, err := await(h.knocks)
	if err != nil {
		return "", err
	}
	if knock.ServiceId != id {
		refusal := &plugin.ConnInfo_Knock{Knock: true, Error: "not this one"}
		return "", h.stream.Send(&plugin.ConnInfo{ServiceId: knock.ServiceId, Knock: refusal})
	}
	ack := &plugin.ConnInfo_Knock{Knock: true, Ack: true}
	if err := h.stream.Send(&plugin.ConnInfo{ServiceId: id, Knock: ack}); err != nil {
		return "", err
	}
	conn, err := h.session.Accept()
	if err != nil {
		return "", err
	}
	given := make(chan net.Conn, 1)
	given <- conn
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(&one{Conn: conn, given: given})
	return "", nil
}

func (h *host) hear() {
	for {
		info, err := h.stream.Recv()
		if err != nil {
			return
		}
		if info.Knock != nil && !info.Knock.Ack && info.Knock.Error == "" {
			h.knocks <- info
		} else {
			h.answers <- info
		}
	}
}

func main() {
	raw, err := net.Dial(os.Args[1], os.Args[2])
	must(err)
	session, err := yamux.Client(raw, yamux.DefaultConfig())
	must(err)
	h := &host{session: session, answers: make(chan *plugin.ConnInfo, 9), knocks: make(chan *plugin.ConnInfo, 9)}
	conn, err := h.over()
	must(err)
	tell(check(conn, "plugin"))
	h.stream, err = plugin.NewGRPCBrokerClient(conn).StartStream(context.Background())
	must(err)
	go h.hear()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := append(strings.Fields(lines.Text()), "0")
		id, err := strconv.ParseUint(words[1], 10, 32)
		must(err)
		switch words[0] {
		case "dial":
			tell(h.dial(uint32(id)))
		case "accept":
			tell(h.accept(uint32(id)))
		default:
			tell(check(conn, "plugin"))
		}
	}
}
