package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/sockets"
)

// A ChannelDialer connects to the channels of other software at the servers of a broker. They are
// never sharded, and in a cluster all servers pass all messages on.
type ChannelDialer struct{ dialer *dialer }

// NewChannelDialer returns a dialer that has not connected. The prefix is only for the names of
// channels of its own. The error says what is wrong with the options, without secrets.
func NewChannelDialer(o Options) (*ChannelDialer, error) {
	d, err := newDialer(&o)
	return &ChannelDialer{d}, err
}

// A ChannelHandler gets what comes over a connection. Its functions must not wait.
type ChannelHandler struct {
	// Receive gets each message, from one goroutine at a time.
	Receive func(channel, message string)

	// Lost is told that the connection is of no use any more, and why. It may be called repeatedly,
	// but not as a consequence of Close.
	Lost func(why error)
}

// A ChannelMessage is a message on its way to a channel. Its bytes are never modified.
type ChannelMessage struct {
	Channel string
	Bytes   []byte
}

// Channels are a connection to the channels of a server or a cluster. It is never repaired: one that
// fails is closed, and another one dialed.
type Channels struct {
	server  *server
	others  []rueidis.Client // of the other masters of a cluster, which count their own subscribers
	sockets *sockets.Sockets
}

// Dial connects. It must not be called concurrently. Ctx bounds the call only.
func (c *ChannelDialer) Dial(ctx context.Context, h ChannelHandler) (*Channels, error) {
	channels := &Channels{sockets: new(sockets.Sockets)}
	stop := context.AfterFunc(ctx, channels.sockets.Close) // the client's own functions know no context
	defer stop()
	err := c.dialer.connectChannels(ctx, channels, h)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		channels.Close()
		return nil, err
	}
	return channels, nil
}

func (d *dialer) connectChannels(ctx context.Context, c *Channels, h ChannelHandler) error {
	if d.sentinel != "" {
		client, err := rueidis.NewClient(d.sentinelOptions(c.sockets))
		if err != nil {
			return fmt.Errorf("asking the Sentinels for the server %q: %w", d.sentinel, err)
		}
		return d.useChannels(ctx, c, client, h)
	}
	var failures error
	for _, address := range slices.Concat(d.addresses, d.masters) {
		client, err := d.client(address, c.sockets)
		if err == nil {
			return d.connectChannelsFrom(ctx, c, client, address, h)
		}
		failures = errors.Join(failures, fmt.Errorf("connecting to %s: %w", address, err))
	}
	return failures
}

// connectChannelsFrom uses the server that a client is connected to, or the masters of its cluster.
func (d *dialer) connectChannelsFrom(ctx context.Context, c *Channels, client rueidis.Client, address string, h ChannelHandler) error {
	mode, _, err := hello(ctx, client)
	if err == nil && mode != "cluster" {
		return d.useChannels(ctx, c, client, h)
	}
	var shards *shardMap
	if err == nil {
		shards, err = askShards(ctx, client, address)
	}
	client.Close()
	if err != nil {
		return fmt.Errorf("asking %s for its servers: %w", address, err)
	}
	d.masters = shards.addresses
	for i, address := range shards.addresses {
		client, err := d.client(address, c.sockets)
		switch {
		case err != nil:
		case i == 0: // all others in the cluster would do
			err = d.useChannels(ctx, c, client, h)
		default:
			c.others = append(c.others, client)
		}
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
	}
	return nil
}

// useChannels takes over the client of the server to publish to and to subscribe at.
func (d *dialer) useChannels(ctx context.Context, c *Channels, client rueidis.Client, h ChannelHandler) (err error) {
	if c.server, err = newServer(ctx, client, false, d.newProbe(), h.Receive, h.Lost); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return nil
}

// Publish publishes messages in order, and returns when the server has taken them all. If there is
// an error, it may have taken some of them, or all.
func (c *Channels) Publish(ctx context.Context, messages []ChannelMessage) error {
	return c.server.publish(ctx, messages)
}

// Subscribe returns when the server has confirmed the subscription. A channel must be subscribed once
// at most, or it is counted twice.
func (c *Channels) Subscribe(ctx context.Context, channels ...string) error {
	return c.server.subscribe(ctx, channels)
}

// SubscribePattern is Subscribe for all channels whose names match a pattern, as PSUBSCRIBE has them.
func (c *Channels) SubscribePattern(ctx context.Context, pattern string) error {
	return c.server.subscribePattern(ctx, pattern)
}

// Uncount has Subscribers count subscriptions no more. What is published to the channels is still
// received. Their names must have none of the wildcards of PSUBSCRIBE.
func (c *Channels) Uncount(ctx context.Context, channels ...string) error {
	return c.server.uncount(ctx, channels)
}

// errReplica means that a server does not take part in its cluster as it did.
var errReplica = errors.New("the server is not a master any more")

// Probe sends something through the server and returns when it has come back. It must not be called
// concurrently.
func (c *Channels) Probe(ctx context.Context) error {
	if len(c.others) > 0 {
		role, err := c.server.client.Do(ctx, c.server.client.B().Role().Build()).ToArray()
		if err != nil {
			return err
		}
		if name, _ := role[0].ToString(); name != "master" {
			return errReplica // others count the subscribers of masters only
		}
	}
	return c.server.sendProbe(ctx)
}

// Subscribers returns how many connections are subscribed to a channel by its name, this one
// included.
func (c *Channels) Subscribers(ctx context.Context, channel string) (int, error) {
	all := 0
	for _, client := range append([]rueidis.Client{c.server.client}, c.others...) {
		counts, err := client.Do(ctx, client.B().PubsubNumsub().Channel(channel).Build()).AsIntMap()
		if err != nil {
			return 0, err
		}
		all += int(counts[channel])
	}
	return all, nil
}

// Close ends the connection. It waits until Receive is not called any more.
func (c *Channels) Close() {
	if c.server != nil {
		c.server.closing.Store(true)
	}
	c.sockets.Close() // otherwise, a server that does not answer would delay it
	if c.server != nil {
		c.server.close()
	}
	for _, client := range c.others {
		client.Close()
	}
}
