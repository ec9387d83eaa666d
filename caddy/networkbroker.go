package caddy

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
)

// NetworkBroker is what brokers over a network have in common.
type NetworkBroker struct {
	*netbroker.Broker `json:"-"`

	// URLs are the servers. Global placeholders such as {env.REDIS_URL} are filled in when the
	// configuration is loaded.
	URLs []string `json:"urls"`

	// Prefix begins all names at the servers. Hubs of the same name hear one another if their
	// prefixes are the same, too. Default: caddy-realtime.
	Prefix string `json:"prefix,omitempty"`

	// Key is a secret that all nodes have, and nobody else, of 32 characters or more. With it, the
	// requests of a client that polls may reach any node. Global placeholders are filled in. Default:
	// derived from the password in use; without one, these requests must reach the node that the client
	// has connected to.
	Key string `json:"cluster_key,omitempty"`

	// TLS turns TLS on. Default: only where a URL says so.
	TLS *BrokerTLS `json:"tls,omitempty"`

	// Required makes Caddy refuse to start while the servers cannot be reached, and makes health
	// answer 503 while the connection is lost. Default: false; clients of each node then hear of one
	// another.
	Required bool `json:"required,omitempty"`

	filled []string // what placeholders and files stand for

	clusterKey func() []byte // nil: there is none
}

// BrokerTLS configures TLS to a broker's servers.
type BrokerTLS struct {
	// CA are files with certificates in PEM. One of them must have signed the servers' certificates.
	// Default: the system's certificate authorities.
	CA []string `json:"ca,omitempty"`

	// ClientCertificate and ClientKey are files in PEM that authenticate this node. Default: none.
	ClientCertificate string `json:"client_certificate,omitempty"`
	ClientKey         string `json:"client_key,omitempty"`

	// ServerName is the name in the servers' certificates. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`
}

// required reports whether health depends on the connection.
func (b *NetworkBroker) required() bool { return b.Required }

// filledIn returns what placeholders and files stood for when the broker was provisioned: another
// password in the same file makes another broker.
func (b *NetworkBroker) filledIn() string { return strings.Join(b.filled, "\x00") }

// expand fills in the global placeholders of an option.
func (b *NetworkBroker) expand(what, text string) (string, error) {
	filled, err := expand(what, text)
	b.filled = append(b.filled, filled)
	return filled, err
}

// ClusterKey implements cluster.KeyHolder.
func (b *NetworkBroker) ClusterKey() []byte {
	if b.clusterKey == nil {
		return nil
	}
	return b.clusterKey()
}

// minClusterKey is how many bytes a key has at least. Each client has what could be compared with
// guesses: the id of its session.
const minClusterKey = 32

// setClusterKey sets the key, or has it derived from a password, which may be missing.
func (b *NetworkBroker) setClusterKey(name, password string) error {
	key, err := b.expand("broker "+name+": cluster_key", b.Key)
	switch {
	case err != nil:
		return err
	case key != "" && len(key) < minClusterKey:
		return fmt.Errorf("broker %s: cluster_key has %d characters; it must have %d or more, such as those of: openssl rand -hex 32", name, len(key), minClusterKey)
	case key != "":
		b.clusterKey = func() []byte { return []byte(key) }
	case password != "":
		b.clusterKey = sync.OnceValue(func() []byte { return derivedKey(password) })
	}
	return nil
}

// derivedKey returns the key that is derived from a password. That takes long, or clients could find out
// a password that is not a strong one.
func derivedKey(password string) []byte {
	const iterations = 600_000
	key, err := pbkdf2.Key(sha256.New, password, []byte("caddy-realtime cluster key"), iterations, sha256.Size)
	if err != nil {
		panic(err) // cannot happen: the sizes are large enough
	}
	return key
}

// passwordOf returns the first password in URLs; a user without a password is one if token is set.
func passwordOf(urls []string, token bool) string {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.User == nil {
			continue
		}
		if password, ok := u.User.Password(); ok || !token {
			return password
		}
		return u.User.Username()
	}
	return ""
}

// provision returns what the library needs of the options, with placeholders filled in.
func (b *NetworkBroker) provision(name string) (urls []string, secure *tls.Config, o netbroker.Options, err error) {
	for _, text := range b.URLs {
		if text, err = b.expand("broker "+name+": the URL", text); err != nil {
			return nil, nil, o, err
		}
		urls = append(urls, text)
	}
	if b.TLS != nil {
		if secure, err = b.TLS.config(); err != nil {
			return nil, nil, o, fmt.Errorf("broker %s: tls: %w", name, err)
		}
		for _, file := range append(slices.Clone(b.TLS.CA), b.TLS.ClientCertificate, b.TLS.ClientKey) {
			text, _ := os.ReadFile(file) // config has read it, or there is none
			b.filled = append(b.filled, string(text))
		}
	}
	// The hub outlives the configuration, and its broker with it.
	logger := processLogger().Named("broker." + name)
	return urls, secure, netbroker.Options{Required: b.Required, Logger: logger}, nil
}

func (t *BrokerTLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if len(t.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
	}
	for _, file := range t.CA {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", file)
		}
	}
	if t.ClientCertificate != "" || t.ClientKey != "" {
		certificate, err := tls.LoadX509KeyPair(t.ClientCertificate, t.ClientKey)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{certificate}
	}
	return c, nil
}

// parse parses the URLs and the block of a broker. Own parses an option of the broker itself, and
// reports whether it is one; names are those of all its own options. Check says what is wrong with
// URLs without placeholders.
func (b *NetworkBroker) parse(d *caddyfile.Dispenser, example string, names []string, own func(option string) (bool, error), check func(urls []string) error) error {
	d.Next()
	name := d.Val()
	if b.URLs = d.RemainingArgs(); len(b.URLs) == 0 {
		return d.Errf("broker %s takes the URL of a server, such as %s", name, example)
	}
	if !strings.Contains(strings.Join(b.URLs, ""), "{") {
		if err := check(b.URLs); err != nil {
			return d.Errf("broker %s: %w", name, err)
		}
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("broker %s: %s is there already; write it once", name, option)
		}
		seen[option] = true
		known, err := own(option)
		if !known {
			err = b.parseOption(d, name, option, names)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *NetworkBroker) parseOption(d *caddyfile.Dispenser, name, option string, names []string) error {
	switch option {
	case "prefix":
		return parseWord(d, name, &b.Prefix)
	case "cluster_key":
		return parseWord(d, name, &b.Key)
	case "required":
		return parseFlag(d, name, &b.Required)
	case "tls":
		b.TLS = new(BrokerTLS)
		return b.TLS.parse(d, name)
	default:
		all := slices.Concat(names, []string{"prefix", "cluster_key", "required", "tls"})
		return d.Errf("broker %s has no option %q%s; it has %s", name, option, didYouMean(option, all), strings.Join(all, ", "))
	}
}

// parse parses the rest of the line, and a block.
func (t *BrokerTLS) parse(d *caddyfile.Dispenser, name string) error {
	if d.NextArg() {
		return d.Errf("broker %s: tls takes no arguments; its block has ca, client_certificate and server_name", name)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option, args := d.Val(), d.RemainingArgs(); {
		case option == "ca" && len(args) > 0:
			t.CA = append(t.CA, args...)
		case option == "client_certificate" && len(args) == 2:
			t.ClientCertificate, t.ClientKey = args[0], args[1]
		case option == "server_name" && len(args) == 1:
			t.ServerName = args[0]
		default:
			return d.Errf("broker %s: tls has ca <file>..., client_certificate <certificate_file> <key_file> "+
				"and server_name <name>", name)
		}
	}
	return nil
}

// parseWord parses an option that has one argument.
func parseWord(d *caddyfile.Dispenser, name string, field *string) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" || args[0] == "{" {
		return d.Errf("broker %s: %s takes one argument", name, option)
	}
	*field = args[0]
	return nil
}

// parseFlag parses an option without arguments.
func parseFlag(d *caddyfile.Dispenser, name string, field *bool) error {
	option := d.Val()
	if d.NextArg() {
		return d.Errf("broker %s: %s takes no arguments", name, option)
	}
	*field = true
	return nil
}
