package caddy

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func parseSocketIO(h *Handler, d *caddyfile.Dispenser) error {
	path, off, err := parsePathOrOff(d)
	if err != nil {
		return err
	}
	h.SocketIO = &SocketIO{Path: path, Off: off}
	return parseSocketIOBlock(d, h.SocketIO)
}

func parseSocketIOBlock(d *caddyfile.Dispenser, s *SocketIO) error {
	var seen []string
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, args := d.Val(), d.RemainingArgs()
		switch {
		case option == "{" && len(seen) > 0:
			return d.Errf("socketio: %s takes no block", seen[len(seen)-1])
		case option != "eio3" && option != "transports":
			return d.Errf("socketio has no option %q%s; it has eio3 and transports",
				option, didYouMean(option, []string{"eio3", "transports"}))
		case s.Off && option == "eio3":
			return d.Err("socketio: eio3 lets more clients in, and off none; leave one of them out")
		case s.Off:
			return d.Err("socketio: transports says how clients get in, and off lets none in; " +
				"leave one of them out")
		case slices.Contains(seen, option):
			return d.Errf("socketio: %s is there already; write it once", option)
		case option == "eio3" && len(args) > 0:
			return d.Errf("socketio: eio3 takes no argument such as %q; write it alone", args[0])
		case option == "eio3":
			s.EIO3 = true
		case len(args) == 0:
			return d.Err("socketio: transports takes polling, websocket or both")
		default:
			s.Transports = args
			if err := s.validate(); err != nil {
				return d.WrapErr(err)
			}
		}
		seen = append(seen, option)
	}
	if d.Val() == "}" && len(seen) == 0 {
		return d.Err("socketio: the block is empty; write eio3 or transports in it, or leave it out")
	}
	return nil
}
