package redisbroker

import (
	"context"
	"errors"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/sockets"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
)

// A conn is a [netbroker.Conn] to one server, or to all masters of a cluster.
type conn struct {
	prefix  string // of channels
	servers []*server
	shards  *shardMap // nil if there is one server
	sockets *sockets.Sockets
}

// serverOf returns the index of the server that has a channel.
func (c *conn) serverOf(channel string) int {
	if c.shards == nil {
		return 0
	}
	return c.shards.server(channel)
}

// Publish implements [netbroker.Conn].
func (c *conn) Publish(ctx context.Context, frames []netbroker.Frame) error {
	byServer := make([][]ChannelMessage, len(c.servers))
	for _, f := range frames {
		channel := c.prefix + f.Topic
		i := c.serverOf(channel)
		byServer[i] = append(byServer[i], ChannelMessage{channel, f.Bytes})
	}
	return c.each(func(i int, s *server) error { return s.publish(ctx, byServer[i]) })
}

// Subscribe implements [netbroker.Conn].
func (c *conn) Subscribe(ctx context.Context, topics []string) error {
	byServer := c.channels(topics)
	return c.each(func(i int, s *server) error { return s.subscribe(ctx, byServer[i]) })
}

// Unsubscribe implements [netbroker.Conn].
func (c *conn) Unsubscribe(ctx context.Context, topics []string) error {
	byServer := c.channels(topics)
	return c.each(func(i int, s *server) error { return s.unsubscribe(ctx, byServer[i]) })
}

// Probe implements [netbroker.Conn].
func (c *conn) Probe(ctx context.Context) error {
	return c.each(func(_ int, s *server) error { return s.sendProbe(ctx) })
}

// MaxFrame implements [netbroker.Conn]. A server takes 512 MB by default.
func (c *conn) MaxFrame() int { return 0 }

// Close implements [netbroker.Conn].
func (c *conn) Close() {
	for _, s := range c.servers {
		s.closing.Store(true)
	}
	// Otherwise, a server that does not answer would delay it.
	c.sockets.Close()
	_ = c.each(func(_ int, s *server) error {
		s.close()
		return nil
	})
}

// channels returns the channels of topics, by server.
func (c *conn) channels(topics []string) [][]string {
	byServer := make([][]string, len(c.servers))
	for _, topic := range topics {
		channel := c.prefix + topic
		i := c.serverOf(channel)
		byServer[i] = append(byServer[i], channel)
	}
	return byServer
}

// each calls act for all servers at once.
func (c *conn) each(act func(int, *server) error) error {
	if len(c.servers) == 1 {
		return act(0, c.servers[0])
	}
	errs := make([]error, len(c.servers))
	var all sync.WaitGroup
	for i, s := range c.servers {
		all.Go(func() { errs[i] = act(i, s) })
	}
	all.Wait()
	return errors.Join(errs...)
}
