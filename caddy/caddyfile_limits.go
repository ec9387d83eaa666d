package caddy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// limitParsers parse the value of one limit each, by its name.
var limitParsers = newLimitParsers()

func newLimitParsers() map[string]func(*Limits, *caddyfile.Dispenser, string) error {
	parsers := map[string]func(*Limits, *caddyfile.Dispenser, string) error{
		"payload": func(l *Limits, d *caddyfile.Dispenser, text string) error {
			return parseSize(d, "limits: payload", text, &l.Payload)
		},
		"queue": func(l *Limits, d *caddyfile.Dispenser, text string) error {
			var size int64
			err := parseSize(d, "limits: queue", text, &size)
			l.Queue = int(size)
			return err
		},
		"headers": func(l *Limits, d *caddyfile.Dispenser, text string) error {
			return parseSize(d, "limits: headers", text, &l.Headers)
		},
		"event_name": func(l *Limits, d *caddyfile.Dispenser, text string) error {
			return parseSize(d, "limits: event_name", text, &l.EventName)
		},
		"handshake": func(l *Limits, d *caddyfile.Dispenser, text string) error {
			return parseDuration(d, "limits: handshake", text, &l.Handshake)
		},
	}
	for i, c := range new(Limits).counts() {
		parsers[c.name] = func(l *Limits, d *caddyfile.Dispenser, text string) error {
			return parseCount(d, l.counts()[i], text)
		}
	}
	return parsers
}

func parseLimits(h *Handler, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("limits takes a block, with %s", limitNames())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		args := d.RemainingArgs()
		parse, ok := limitParsers[name]
		switch {
		case !ok:
			return d.Errf("limits has no %q%s; it has %s",
				name, didYouMean(name, slices.Sorted(maps.Keys(limitParsers))), limitNames())
		case name == "queue" && len(args) == 2:
			if h.Limits.QueuePolicy = args[1]; args[1] != queueClose && args[1] != queueDropVolatile {
				return d.Errf("limits: queue: %q is unknown; write a size, and %s or %s behind it",
					args[1], queueClose, queueDropVolatile)
			}
		case name == "queue" && len(args) != 1:
			return d.Errf("limits: queue takes a size, and %s or %s behind it", queueClose, queueDropVolatile)
		case len(args) != 1:
			return d.Errf("limits: %s takes one value", name)
		case seen[name]:
			return d.Errf("limits: %s is there already; write it once", name)
		}
		seen[name] = true
		if err := parse(&h.Limits, d, args[0]); err != nil {
			return err
		}
	}
	if len(seen) == 0 {
		return d.Errf("limits takes a block, with %s", limitNames())
	}
	return nil
}

func limitNames() string {
	return strings.Join(slices.Sorted(maps.Keys(limitParsers)), ", ")
}

func parseCount(d *caddyfile.Dispenser, c count, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > c.most {
		return d.Errf("limits: %s: %q is no whole number between 1 and %d", c.name, text, c.most)
	}
	*c.value = n
	return nil
}
