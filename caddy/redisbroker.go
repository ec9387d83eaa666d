package caddy

import (
	"cmp"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(RedisBroker)) }

// RedisBroker connects the nodes of a cluster by the publish/subscribe of Redis (from 6.2 on) or
// Valkey: a single server, one that Sentinels watch over, or a cluster. Nothing is stored there.
type RedisBroker struct {
	NetworkBroker

	// Username and Password are those of the servers, and take the place of those in URLs. With
	// Sentinel, those in URLs are for the Sentinels only. Global placeholders are filled in.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// Sentinel is the name under which Sentinels know the server. The URLs are those of the
	// Sentinels. Default: none; the URLs are those of the server, or of servers of a cluster.
	Sentinel string `json:"sentinel,omitempty"`

	// Sharded demands sharded publish/subscribe. A cluster from version 7.0 on is used that way
	// without it. All nodes must agree on it. Default: false.
	Sharded bool `json:"sharded,omitempty"`

	// SocketIOAdapter connects namespaces with Socket.IO's own servers, which use an adapter for
	// Redis, and with emitters. Default: none.
	SocketIOAdapter *SocketIOAdapter `json:"socketio_adapter,omitempty"`

	channels *redisbroker.ChannelDialer // nil without SocketIOAdapter
}

// CaddyModule returns the Caddy module information.
func (*RedisBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.redis", New: func() caddy.Module { return new(RedisBroker) }}
}

// Provision implements caddy.Provisioner.
func (b *RedisBroker) Provision(caddy.Context) error {
	o := redisbroker.Options{Prefix: b.Prefix, Sentinel: b.Sentinel, Sharded: b.Sharded}
	var err error
	if o.URLs, o.TLS, o.Options, err = b.provision("redis"); err != nil {
		return err
	}
	if o.Username, err = b.expand("broker redis: username", b.Username); err != nil {
		return err
	}
	if o.Password, err = b.expand("broker redis: password", b.Password); err != nil {
		return err
	}
	if err = b.setClusterKey("redis", cmp.Or(o.Password, passwordOf(o.URLs, false))); err != nil {
		return err
	}
	if b.Broker, err = redisbroker.New(o); err != nil {
		return fmt.Errorf("broker redis: %w", err)
	}
	if b.SocketIOAdapter == nil {
		return nil
	}
	if err := b.SocketIOAdapter.validate(); err != nil {
		return fmt.Errorf("broker redis: socketio_adapter: %w", err)
	}
	b.channels, err = redisbroker.NewChannelDialer(o)
	return err
}

// openBridge implements bridger.
func (b *RedisBroker) openBridge(h *realtime.Hub) {
	if b.channels != nil {
		b.SocketIOAdapter.open(h, b.channels, b.Prefix)
	}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	broker redis <url>... {
//		username    <name>
//		password    <password>
//		sentinel    <master>
//		sharded
//		socketio_adapter off|classic [<namespace>...] {
//			key <key>
//		}
//		prefix      <prefix>
//		cluster_key <secret>
//		required
//		tls {
//			ca                 <file>...
//			client_certificate <certificate_file> <key_file>
//			server_name        <name>
//		}
//	}
func (b *RedisBroker) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	names := []string{"username", "password", "sentinel", "sharded", "socketio_adapter"}
	return b.parse(d, "redis://127.0.0.1:6379", names, func(option string) (bool, error) {
		switch option {
		case "username":
			return true, parseWord(d, "redis", &b.Username)
		case "password":
			return true, parseWord(d, "redis", &b.Password)
		case "sentinel":
			return true, parseWord(d, "redis", &b.Sentinel)
		case "sharded":
			return true, parseFlag(d, "redis", &b.Sharded)
		case "socketio_adapter":
			var err error
			b.SocketIOAdapter, err = parseSocketIOAdapter(d)
			return true, err
		}
		return false, nil
	}, func(urls []string) error {
		_, err := redisbroker.New(redisbroker.Options{URLs: urls})
		return err
	})
}

// Interface guards
var (
	_ cluster.Broker         = (*RedisBroker)(nil)
	_ cluster.HealthReporter = (*RedisBroker)(nil)
	_ bridger                = (*RedisBroker)(nil)
	_ cluster.KeyHolder      = (*RedisBroker)(nil)
	_ caddy.Provisioner      = (*RedisBroker)(nil)
	_ caddyfile.Unmarshaler  = (*RedisBroker)(nil)
)
