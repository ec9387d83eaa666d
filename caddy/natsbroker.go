package caddy

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/natsbroker"
)

func init() { caddy.RegisterModule(new(NATSBroker)) }

// NATSBroker connects the nodes of a cluster by the publish/subscribe of NATS. Nothing is stored
// there.
type NATSBroker struct {
	NetworkBroker

	// Credentials is a file with a user's JWT and seed. Default: none; a URL may have a user and a
	// password, or a token.
	Credentials string `json:"credentials,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*NATSBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.nats", New: func() caddy.Module { return new(NATSBroker) }}
}

// Provision implements caddy.Provisioner.
func (b *NATSBroker) Provision(caddy.Context) error {
	o := natsbroker.Options{Prefix: b.Prefix, Credentials: b.Credentials}
	var err error
	if o.URLs, o.TLS, o.Options, err = b.provision("nats"); err != nil {
		return err
	}
	if err = b.setClusterKey("nats", passwordOf(o.URLs, true)); err != nil {
		return err
	}
	if b.Broker, err = natsbroker.New(o); err != nil {
		return fmt.Errorf("broker nats: %w", err)
	}
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	broker nats <url>... {
//		credentials <file>
//		prefix      <prefix>
//		cluster_key <secret>
//		required
//		tls {
//			ca                 <file>...
//			client_certificate <certificate_file> <key_file>
//			server_name        <name>
//		}
//	}
func (b *NATSBroker) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return b.parse(d, "nats://127.0.0.1:4222", []string{"credentials"}, func(option string) (bool, error) {
		if option == "credentials" {
			return true, parseWord(d, "nats", &b.Credentials)
		}
		return false, nil
	}, func(urls []string) error {
		_, err := natsbroker.New(natsbroker.Options{URLs: urls})
		return err
	})
}

// Interface guards
var (
	_ cluster.Broker         = (*NATSBroker)(nil)
	_ cluster.HealthReporter = (*NATSBroker)(nil)
	_ cluster.KeyHolder      = (*NATSBroker)(nil)
	_ caddy.Provisioner      = (*NATSBroker)(nil)
	_ caddyfile.Unmarshaler  = (*NATSBroker)(nil)
)
