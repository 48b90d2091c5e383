// A go-plugin host of the KV plugin: `kv_host [OPTIONS] [--do ACTION].. [--stdin] [-- COMMAND [ARGUMENT..]]`.
//
// It launches COMMAND, or attaches to what `--reattach` tells, and takes actions from its options, then with `--stdin` line
// by line from its standard input (of which the plugin sees nothing). Each prints one line: `ok [VALUE]` or `error TEXT`,
// with `\n` for newlines; actions.go has them. In the end it kills the plugin.
//
// A plugin that does not start is told as `start error TEXT` (or `start panic TEXT`), one that starts and has no client as
// `client error TEXT`, both with status 1. The log goes to stderr.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// list is an option that may be given several times.
type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

// reattachment is a ReattachConfig in the JSON of TF_REATTACH_PROVIDERS, as far as this go-plugin knows it.
type reattachment struct {
	Protocol string
	Pid      int
	Addr     struct{ Network, String string }
}

// forcedEnds is a log that counts how often go-plugin told that it kills a process.
type forcedEnds struct {
	out   io.Writer
	count int
}

func (f *forcedEnds) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("plugin failed to exit gracefully")) {
		f.count++
	}
	return f.out.Write(line)
}

func tell(word string, text string) {
	line := strings.TrimRight(word+" "+strings.ReplaceAll(text, "\n", `\n`), " ")
	fmt.Println(line)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kv_host:", err)
		os.Exit(2)
	}
}

func numbers(text string, separator string) []int {
	var parsed []int
	for _, part := range strings.Split(text, separator) {
		number, err := strconv.Atoi(part)
		must(err)
		parsed = append(parsed, number)
	}
	return parsed
}

func reattach(text string) *plugin.ReattachConfig {
	var told reattachment
	must(json.Unmarshal([]byte(text), &told))
	var addr net.Addr
	var err error
	if told.Addr.Network == "unix" {
		addr, err = net.ResolveUnixAddr("unix", told.Addr.String)
	} else {
		addr, err = net.ResolveTCPAddr("tcp", told.Addr.String)
	}
	must(err)
	return &plugin.ReattachConfig{Protocol: plugin.Protocol(told.Protocol), Addr: addr, Pid: told.Pid}
}

// start starts the plugin and dispenses its client, or tells why not and ends the program.
func start(host *plugin.Client) (plugin.ClientProtocol, *client) {
	step := "start"
	fail := func(kind string, text interface{}) {
		tell(step+" "+kind, fmt.Sprint(text))
		host.Kill()
		os.Exit(1)
	}
	defer func() {
		if cause := recover(); cause != nil {
			// The panic may have left go-plugin's lock taken, so nothing is killed.
			tell(step+" panic", fmt.Sprint(cause))
			os.Exit(1)
		}
	}()
	if _, err := host.Start(); err != nil {
		fail("error", err)
	}
	step = "client"
	protocol, err := host.Client()
	if err != nil {
		fail("error", err)
	}
	dispensed, err := protocol.Dispense(pluginName)
	if err != nil {
		fail("error", err)
	}
	return protocol, dispensed.(*client)
}

func main() {
	script := os.Stdin
	nothing, err := os.Open(os.DevNull)
	must(err)
	os.Stdin = nothing

	var actions list
	flag.Var(&actions, "do", "an action; may be given several times")
	interactive := flag.Bool("stdin", false, "take further actions from the standard input")
	mtls := flag.Bool("automtls", false, "ask for AutoMTLS")
	versions := flag.String("protocol-versions", "1", "the versions that it offers")
	timeout := flag.Duration("start-timeout", time.Minute, "how long the plugin may take to print its line")
	ports := flag.String("ports", "", "MIN-MAX, the ports that the plugin may listen on")
	attached := flag.String("reattach", "", "the JSON of a plugin that runs already")
	flag.Parse()

	log := &forcedEnds{out: os.Stderr}
	config := &plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versioned(numbers(*versions, ","), &kvPlugin{}),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         *mtls,
		StartTimeout:     *timeout,
		Logger:           hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Trace, Output: log}),
	}
	if *ports != "" {
		bounds := numbers(*ports, "-")
		config.MinPort, config.MaxPort = uint(bounds[0]), uint(bounds[1])
	}
	if *attached != "" {
		config.Reattach = reattach(*attached)
		config.Plugins = plugin.PluginSet{pluginName: &kvPlugin{}}
	}
	if flag.NArg() > 0 {
		config.Cmd = exec.Command(flag.Arg(0), flag.Args()[1:]...)
	}

	host := plugin.NewClient(config)
	protocol, dispensed := start(host)
	running := &session{host: host, protocol: protocol, client: dispensed, log: log, brokered: newStore()}
	for _, action := range actions {
		running.act(action)
	}
	if *interactive {
		lines := bufio.NewScanner(script)
		for lines.Scan() {
			running.act(lines.Text())
		}
	}
	host.Kill()
}
