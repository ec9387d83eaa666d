// Package natsbroker is a broker over the publish/subscribe of NATS.
//
// A topic is a subject: a prefix and the topic's name, with escapes. Each connection is used until
// it is lost, and then another one is made. The library's own reconnecting is off: it would send what
// is published meanwhile in another order, or drop it.
//
// In a NATS cluster, a server confirms a subscription before the other servers know of it. So each
// connection has others to those, which find out when they do. Between clusters that are connected
// by gateways or leaf nodes, nothing waits for that.
//
//   - broker.go: options; subject.go: names
//   - conn.go: a connection; scouts.go: those to the other servers of a cluster
package natsbroker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
)

// DefaultPrefix is the default of Options.Prefix.
const DefaultPrefix = "caddy-realtime"

// Options are the options of a broker over NATS.
type Options struct {
	netbroker.Options

	// URLs are those of one server, or of some servers of a cluster:
	// nats://[<user>:<password>@]<host>[:<port>], or tls:// for TLS. A user without a password is a
	// token. At least one is needed.
	URLs []string

	// Credentials is the path of a file with a user's JWT and seed. Default: none.
	Credentials string

	// TLS turns TLS on, as tls:// does, and configures it. Without it, TLS is used if the server
	// demands it. Default: the system's certificate authorities.
	TLS *tls.Config

	// Prefix begins the subjects. Brokers with different prefixes do not hear one another. Default:
	// caddy-realtime.
	Prefix string
}

// New returns a broker that connects when it is used for the first time. The error says what is
// wrong with the options, without secrets.
func New(o Options) (*netbroker.Broker, error) {
	d := &dialer{prefix: o.Prefix, credentials: o.Credentials, tls: o.TLS}
	if d.prefix == "" {
		d.prefix = DefaultPrefix
	}
	if strings.Trim(d.prefix, ".") != d.prefix || strings.Contains(d.prefix, "..") || strings.ContainsAny(d.prefix, "*> \t\r\n") {
		return nil, fmt.Errorf("the prefix %q is no NATS subject", d.prefix)
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("a URL is missing, such as nats://127.0.0.1:4222")
	}
	for i, text := range o.URLs {
		u, err := parseURL(text)
		if err != nil {
			return nil, err
		}
		secure := u.Scheme == "tls"
		if i > 0 && (secure != d.secure || u.User.String() != d.user.String()) {
			return nil, errors.New("the URLs differ in more than their hosts and ports")
		}
		d.secure, d.user = secure, u.User
		u.User = nil // the library's errors may have URLs
		d.servers = append(d.servers, u.String())
	}
	d.secure = d.secure || d.tls != nil
	if d.user != nil && d.credentials != "" {
		return nil, errors.New("there are credentials, and a user in the URL; one of them is too many")
	}
	return netbroker.New(d.dial, o.Options), nil
}

// parseURL parses a URL. Its errors never have the URL's user and password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("a URL is malformed; it looks like nats://127.0.0.1:4222, " +
			"and special characters in a password are written like %23")
	case u.Scheme != "nats" && u.Scheme != "tls":
		return nil, fmt.Errorf("a URL begins with %.20q, and not with nats:// or tls://", u.Scheme+":")
	case u.Hostname() == "":
		return nil, errors.New("a URL has no host; it looks like nats://127.0.0.1:4222")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the URL of %s has more than a host and a port; write options in the block", u.Host)
	}
	u.Path = ""
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "4222")
	}
	return u, nil
}
