package caddy

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() { httpcaddyfile.RegisterGlobalOption("realtime", parseGlobalOption) }

// parseGlobalOption parses the options of one hub. Syntax:
//
//	realtime [<hub>] {
//		broker <guest> ...
//		drain  <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := &App{Hubs: make(map[string]*HubOptions)}
	if existing != nil { // the option is there once for each hub
		if err := json.Unmarshal(existing.(httpcaddyfile.App).Value, app); err != nil {
			return nil, err
		}
	}
	d.Next() // the option's name
	name := defaultName
	if d.NextArg() {
		name = d.Val()
	}
	if d.NextArg() {
		return nil, d.Err("realtime takes one hub and a block")
	}
	if app.Hubs[name] != nil {
		return nil, d.Errf("the hub %q has its options already; write them once", name)
	}
	options := new(HubOptions)
	app.Hubs[name] = options
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		if seen[d.Val()] {
			return nil, d.Errf("%s is there already; write it once", d.Val())
		}
		seen[d.Val()] = true
		if err := options.parse(d); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: "realtime", Value: caddyconfig.JSON(app, nil)}, nil
}

func (o *HubOptions) parse(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "broker":
		if !d.NextArg() {
			return d.Errf("broker takes the name of a guest; this build has %s", guestNames("realtime.brokers"))
		}
		broker, err := parseGuest(d, "realtime.brokers", "broker", d.Val())
		o.BrokerRaw = broker
		return err
	case "drain":
		args := d.RemainingArgs()
		if len(args) != 1 {
			return d.Err("drain takes one duration, such as 10s")
		}
		window, err := caddy.ParseDuration(args[0])
		if err != nil || window < 0 {
			return d.Errf("drain: %q is no duration; write one such as 10s, or 0s to close all at once", args[0])
		}
		o.Drain = (*caddy.Duration)(&window)
		return nil
	default:
		return d.Errf("a hub has no option %q; it has broker and drain", name)
	}
}
