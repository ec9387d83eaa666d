package caddy

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// parseAPI parses where backends reach sockets. Syntax:
//
//	api <path> {
//		key <secret>...
//	}
//
// No error quotes the block: a word of it may be a secret in the wrong place.
func parseAPI(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("api takes one path, such as /api/realtime, and a block with its keys")
	}
	h.API = &API{Path: args[0]}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch {
		case d.Val() == "{":
			return d.Err("api: key takes no block")
		case d.Val() != "key":
			return d.Err("api has one option: key, with one secret or several behind it")
		case h.API.Keys != nil:
			return d.Err("api: key is there already; write all secrets behind the one")
		}
		h.API.Keys = d.RemainingArgs()
		if len(h.API.Keys) == 0 {
			return d.Err("api: key takes one secret or several, such as {env.REALTIME_KEY}; " +
				"an unset {$VARIABLE} expands to nothing")
		}
	}
	if err := h.API.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
