package redisbroker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/sockets"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

const (
	// answerTimeout is how long the answers to the first commands may take.
	answerTimeout = 3 * time.Second

	// sentinelInterval is how often the Sentinels are asked for the server, besides what they tell
	// by themselves.
	sentinelInterval = 5 * time.Second

	// bufferSize is that of the buffers of each connection.
	bufferSize = 64 << 10

	clientName = "caddy-realtime"
)

// A dialer connects to a server, to the one that Sentinels name, or to the masters of a cluster.
type dialer struct {
	addresses          []string
	username, password string
	tls                *tls.Config // nil without TLS
	prefix             string
	sharded            bool

	sentinel                           string
	sentinelUsername, sentinelPassword string

	masters []string // of a cluster, when it was last seen
}

// dial implements [netbroker.Dialer].
func (d *dialer) dial(ctx context.Context, h netbroker.Handler) (netbroker.Conn, error) {
	c := &conn{prefix: d.prefix + ":", sockets: new(sockets.Sockets)}
	// The client's own functions know no context.
	stop := context.AfterFunc(ctx, c.sockets.Close)
	defer stop()
	err := d.connect(ctx, c, h)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer in time: %w", err)
		}
		return nil, err
	}
	return c, nil
}

// connect adds servers to c.
func (d *dialer) connect(ctx context.Context, c *conn, h netbroker.Handler) error {
	if d.sentinel != "" {
		client, err := rueidis.NewClient(d.sentinelOptions(c.sockets))
		if err != nil {
			return fmt.Errorf("asking the Sentinels for the server %q: %w", d.sentinel, err)
		}
		return d.add(ctx, c, client, d.sharded, h)
	}
	var failures error
	for _, address := range slices.Concat(d.addresses, d.masters) {
		client, err := d.client(address, c.sockets)
		if err == nil {
			return d.connectFrom(ctx, c, client, address, h)
		}
		failures = errors.Join(failures, fmt.Errorf("connecting to %s: %w", address, err))
	}
	return failures
}

// connectFrom adds the server that a client is connected to, or those of its cluster.
func (d *dialer) connectFrom(ctx context.Context, c *conn, client rueidis.Client, address string, h netbroker.Handler) error {
	mode, version, err := hello(ctx, client)
	switch {
	case err != nil:
		err = fmt.Errorf("asking %s for its version: %w", address, err)
	case mode == "sentinel":
		err = fmt.Errorf("%s is a Sentinel; the option sentinel with the name of the server is missing", address)
	case mode == "cluster" && (d.sharded || version >= 7):
		var shards *shardMap
		if shards, err = askShards(ctx, client, address); err == nil {
			client.Close()
			return d.connectShards(ctx, c, shards, h)
		}
	case mode != "cluster" && len(d.addresses) > 1:
		err = fmt.Errorf("%s is not in a cluster, so it must be the only URL", address)
	default:
		return d.add(ctx, c, client, d.sharded, h)
	}
	client.Close()
	return err
}

// connectShards adds the masters of a cluster.
func (d *dialer) connectShards(ctx context.Context, c *conn, shards *shardMap, h netbroker.Handler) error {
	c.shards = shards
	for _, address := range shards.addresses {
		client, err := d.client(address, c.sockets)
		if err == nil {
			err = d.add(ctx, c, client, true, h)
		}
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
	}
	d.masters = shards.addresses
	return nil
}

// add adds the server of a client, which it takes over.
func (d *dialer) add(ctx context.Context, c *conn, client rueidis.Client, sharded bool, h netbroker.Handler) error {
	probe := d.newProbe()
	for c.shards != nil && c.shards.server(probe) != len(c.servers) {
		probe = d.newProbe() // until it is a channel of this server
	}
	receive := func(channel, message string) {
		h.Receive(strings.TrimPrefix(channel, c.prefix), []byte(message))
	}
	s, err := newServer(ctx, client, sharded, probe, receive, h.Lost)
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	c.servers = append(c.servers, s)
	return nil
}

// newProbe returns the name of a channel that nobody else uses.
func (d *dialer) newProbe() string { return d.prefix + "-probe:" + randid.New() }

func (d *dialer) client(address string, s *sockets.Sockets) (rueidis.Client, error) {
	o := d.options(s)
	o.InitAddress = []string{address}
	o.ForceSingleClient = true
	return rueidis.NewClient(o)
}

func (d *dialer) options(s *sockets.Sockets) rueidis.ClientOption {
	return rueidis.ClientOption{
		Username:      d.username,
		Password:      d.password,
		TLSConfig:     d.tls,
		ClientName:    clientName,
		ClientSetInfo: rueidis.DisableClientSetInfo, // a user may not be allowed to
		DialCtxFn:     dialWith(s),
		Dialer:        net.Dialer{Timeout: answerTimeout},
		// Nothing is tried again here: what fails is the end of the connection.
		DisableRetry:        true,
		DisableCache:        true,
		PipelineMultiplex:   -1, // one connection, so that messages stay in order
		ConnWriteTimeout:    answerTimeout,
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		RingScaleEachConn:   8, // the smallest that is recommended: batches count as one
	}
}

func (d *dialer) sentinelOptions(s *sockets.Sockets) rueidis.ClientOption {
	o := d.options(s)
	o.InitAddress = slices.Clone(d.addresses)
	o.Sentinel = rueidis.SentinelOption{
		MasterSet:  d.sentinel,
		Username:   d.sentinelUsername,
		Password:   d.sentinelPassword,
		ClientName: clientName,
		TLSConfig:  d.tls,
		Dialer:     o.Dialer,
		// If the server has changed unnoticed, the client publishes to the new one from then on, and
		// probes do not come back.
		TopologyRefreshInterval: sentinelInterval,
	}
	return o
}

// hello returns what a server is: standalone, sentinel or cluster.
func hello(ctx context.Context, client rueidis.Client) (mode string, version int, err error) {
	fields, err := client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	if err != nil {
		return "", 0, err
	}
	m, v := fields["mode"], fields["version"]
	mode, err = m.ToString()
	if err != nil {
		return "", 0, err
	}
	text, err := v.ToString()
	if err != nil {
		return "", 0, err
	}
	major, _, _ := strings.Cut(text, ".")
	version, err = strconv.Atoi(major)
	return mode, version, err
}

// askShards asks a server of a cluster which server has which channels.
func askShards(ctx context.Context, client rueidis.Client, address string) (*shardMap, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ranges, err := client.Do(ctx, client.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return nil, fmt.Errorf("asking %s for the servers of the cluster: %w", address, err)
	}
	return parseShards(ranges, host)
}

// dialWith returns a function that dials TCP or TLS connections.
func dialWith(s *sockets.Sockets) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, _ *net.Dialer, secure *tls.Config) (net.Conn, error) {
		tcp, err := s.Dial(ctx, address)
		if err != nil || secure == nil {
			return tcp, err
		}
		if secure.ServerName == "" {
			secure = secure.Clone()
			secure.ServerName, _, _ = net.SplitHostPort(address)
		}
		encrypted := tls.Client(tcp, secure)
		handshake, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if err := encrypted.HandshakeContext(handshake); err != nil {
			return nil, errors.Join(err, tcp.Close())
		}
		return encrypted, nil
	}
}
