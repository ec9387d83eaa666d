package caddy

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

func init() { caddy.RegisterModule(new(MemoryBroker)) }

// MemoryBroker is the broker for a single node. It is the default of hubs, and has no options. It
// reaches nobody, so hubs do not use what it implements.
type MemoryBroker struct {
	cluster.Broker `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*MemoryBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.memory", New: func() caddy.Module { return new(MemoryBroker) }}
}

// Provision implements caddy.Provisioner.
func (b *MemoryBroker) Provision(caddy.Context) error {
	b.Broker = membroker.New(membroker.Options{})
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	broker memory
func (b *MemoryBroker) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the broker's name
	if d.NextArg() {
		return d.Err("broker memory takes no arguments")
	}
	if d.NextBlock(d.Nesting()) {
		return d.Err("broker memory has no options")
	}
	return nil
}

// Interface guards
var (
	_ cluster.Broker        = (*MemoryBroker)(nil)
	_ caddy.Provisioner     = (*MemoryBroker)(nil)
	_ caddyfile.Unmarshaler = (*MemoryBroker)(nil)
)
