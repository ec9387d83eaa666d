package caddy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/redisadapter"
)

// SocketIOAdapter makes each node a member of a cluster of Socket.IO's own servers in some namespaces.
// Broadcasts reach the clients of both, fetchSockets and the like find the sockets of both, and
// emitters reach both. All nodes of a hub must have the same settings.
type SocketIOAdapter struct {
	// Format is the adapter that the servers use: "classic" is @socket.io/redis-adapter with
	// createAdapter, and what @socket.io/redis-emitter publishes.
	Format string `json:"format"`

	// Namespaces are those that are connected. Default: /.
	Namespaces []string `json:"namespaces,omitempty"`

	// Key is the option of the same name of the servers' adapters. Default: socket.io.
	Key string `json:"key,omitempty"`
}

// classicAdapter is the only format so far.
const classicAdapter = "classic"

var errStreams = errors.New("streams is not there yet; classic is for servers that use @socket.io/redis-adapter")

func (a *SocketIOAdapter) validate() error {
	switch a.Format {
	case classicAdapter:
	case "streams":
		return errStreams
	default:
		return fmt.Errorf("%q is no adapter; write classic or off", a.Format)
	}
	const special = `*?[]\#`
	if strings.ContainsAny(a.Key, special) {
		return fmt.Errorf("the key %q has one of the characters %s", a.Key, special)
	}
	for i, n := range a.Namespaces {
		switch {
		case !strings.HasPrefix(n, "/"):
			return fmt.Errorf("%q is no namespace; one begins with /", n)
		case strings.ContainsAny(n, special):
			return fmt.Errorf("the namespace %q has one of the characters %s; write each namespace by its name", n, special)
		case slices.Contains(a.Namespaces[:i], n):
			return fmt.Errorf("the namespace %q is there twice", n)
		}
	}
	return nil
}

// open connects a hub. The prefix is the broker's.
func (a *SocketIOAdapter) open(h *realtime.Hub, dialer *redisbroker.ChannelDialer, prefix string) {
	namespaces := a.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{"/"}
	}
	redisadapter.Open(h, redisadapter.Options{
		Dialer:     dialer,
		Namespaces: namespaces,
		Key:        a.Key,
		Cluster:    prefix + "\x00" + h.Name(),
		Logger:     processLogger().Named("broker.redis"),
	})
}

// parseSocketIOAdapter parses the option of the broker redis. Syntax:
//
//	socketio_adapter off
//	socketio_adapter classic [<namespace>...] {
//		key <key>
//	}
func parseSocketIOAdapter(d *caddyfile.Dispenser) (*SocketIOAdapter, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Err("broker redis: socketio_adapter takes classic and namespaces, or off")
	}
	if args[0] == "off" {
		if len(args) > 1 {
			return nil, d.Err("broker redis: socketio_adapter off takes no namespaces")
		}
		return nil, nil
	}
	a := &SocketIOAdapter{Format: args[0], Namespaces: args[1:]}
	if len(a.Namespaces) == 0 {
		a.Namespaces = nil
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if option := d.Val(); option != "key" {
			return nil, d.Errf("broker redis: socketio_adapter has no option %q; it has key", option)
		}
		if err := parseWord(d, "redis: socketio_adapter", &a.Key); err != nil {
			return nil, err
		}
	}
	if err := a.validate(); err != nil {
		return nil, d.Errf("broker redis: socketio_adapter: %w", err)
	}
	return a, nil
}
