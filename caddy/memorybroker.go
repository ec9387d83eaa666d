package caddy

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(new(MemoryBroker)) }

// MemoryBroker stands for no broker: the hub has a single node. It is the default of hubs, and has no
// options.
type MemoryBroker struct{}

// CaddyModule returns the Caddy module information.
func (*MemoryBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.memory", New: func() caddy.Module { return new(MemoryBroker) }}
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

// Interface guard
var _ caddyfile.Unmarshaler = (*MemoryBroker)(nil)
