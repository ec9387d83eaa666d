package caddy

import (
	"encoding/json"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { httpcaddyfile.RegisterGlobalOption("realtime", parseGlobalOption) }

// parseGlobalOption parses the options of one hub. Syntax:
//
//	realtime [<hub>] {
//		broker   <guest> ...
//		recovery <window> [<max_events_per_namespace>] | off
//		drain    <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := &App{Hubs: make(map[string]*HubOptions)}
	if existing != nil { // the global option may be written once for each hub
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

// hubOptions are the names of the options that parse knows.
var hubOptions = []string{"broker", "drain", "recovery"}

func (o *HubOptions) parse(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "broker":
		if !d.NextArg() {
			return d.Errf("broker takes the name of a guest; this build has %s",
				guestNames("realtime.brokers"))
		}
		broker, err := parseGuest(d, nil, "realtime.brokers", "broker", d.Val())
		o.BrokerRaw = broker
		return err
	case "recovery":
		return o.parseRecovery(d)
	case "drain":
		args := d.RemainingArgs()
		if len(args) != 1 {
			return d.Err("drain takes one duration, such as 10s")
		}
		window, err := caddy.ParseDuration(args[0])
		if err != nil || window < 0 {
			return d.Errf("drain: %q is no duration; write one such as 10s, "+
				"or 0s to close all at once", args[0])
		}
		o.Drain = (*caddy.Duration)(&window)
		return nil
	default:
		return d.Errf("a hub has no option %q%s; it has broker, recovery and drain",
			name, didYouMean(name, hubOptions))
	}
}

func (o *HubOptions) parseRecovery(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 1 && args[0] == "off" {
		return nil
	}
	if len(args) == 0 || len(args) > 2 {
		return d.Err("recovery takes a window such as 2m, and how many events of a namespace " +
			"are held for it; or off")
	}
	window, err := caddy.ParseDuration(args[0])
	if err != nil || window <= 0 {
		return d.Errf("recovery: %q is no window; write a duration such as 2m, or off", args[0])
	}
	o.Recovery = &Recovery{Window: caddy.Duration(window)}
	if len(args) == 2 {
		if o.Recovery.MaxEvents, err = strconv.Atoi(args[1]); err != nil || o.Recovery.MaxEvents <= 0 {
			return d.Errf("recovery: %q is no number of events; write one such as %d",
				args[1], realtime.DefaultMaxEvents)
		}
	}
	return nil
}
