// Package redisbroker is a broker over the publish/subscribe of Redis or Valkey: a single server,
// one that Sentinels watch over, or a cluster.
//
// Redis 6.2 is the oldest version that is supported. A Redis Cluster from 7.0 on, and every Valkey
// cluster, is used by sharded publish/subscribe, so that each message goes to one shard only. An
// older cluster passes all messages to all of its servers.
//
//   - broker.go: options; address.go: URLs
//   - dial.go: which servers there are; server.go: the connections to one of them
//   - shards.go: which server has a channel
//   - channels.go: the channels of other software at the same servers
package redisbroker

import (
	"crypto/tls"
	"errors"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
)

// DefaultPrefix is the default of Options.Prefix.
const DefaultPrefix = "caddy-realtime"

// Options are the options of a broker over Redis.
type Options struct {
	netbroker.Options

	// URLs are those of the server, of some servers of a cluster, or of the Sentinels:
	// redis://[<user>:<password>@]<host>[:<port>], or rediss:// for TLS. The schemes valkey and
	// valkeys are the same. At least one is needed.
	URLs []string

	// Username and Password are those of the servers, and take the place of those in URLs. With
	// Sentinel, those in URLs are for the Sentinels only. A password needs no username.
	Username string
	Password string

	// TLS turns TLS on, as rediss:// does, and configures it. Default: the system's certificate
	// authorities.
	TLS *tls.Config

	// Prefix begins the names of all channels. Brokers with different prefixes do not hear one
	// another. Default: caddy-realtime.
	Prefix string

	// Sentinel is the name under which Sentinels know the server. URLs are those of the Sentinels.
	// TLS is used for the Sentinels and the server, or for neither.
	Sentinel string

	// Sharded demands sharded publish/subscribe of a server that is not in a cluster, too. All
	// brokers must agree on it.
	Sharded bool
}

// New returns a broker that connects when it is used for the first time. The error says what is
// wrong with the options, without secrets.
func New(o Options) (*netbroker.Broker, error) {
	d, err := newDialer(&o)
	if err != nil {
		return nil, err
	}
	return netbroker.New(d.dial, o.Options), nil
}

func newDialer(o *Options) (*dialer, error) {
	d := &dialer{sentinel: o.Sentinel, sharded: o.Sharded, prefix: o.Prefix, username: o.Username, password: o.Password}
	if d.prefix == "" {
		d.prefix = DefaultPrefix
	}
	if strings.ContainsAny(d.prefix, "{}") {
		return nil, errors.New("a prefix cannot have braces: a cluster would keep all channels on one server")
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("a URL is missing, such as redis://127.0.0.1:6379")
	}
	secure := false
	for i, text := range o.URLs {
		a, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		if i > 0 && (a.secure != secure || a.username != d.sentinelUsername || a.password != d.sentinelPassword) {
			return nil, errors.New("the URLs differ in more than their hosts and ports")
		}
		secure, d.sentinelUsername, d.sentinelPassword = a.secure, a.username, a.password
		d.addresses = append(d.addresses, a.hostPort)
	}
	if o.Sentinel == "" && o.Username == "" && o.Password == "" {
		d.username, d.password = d.sentinelUsername, d.sentinelPassword
	}
	if secure || o.TLS != nil {
		d.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLS != nil {
			d.tls = o.TLS.Clone()
		}
	}
	return d, nil
}
