package caddy

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// parseBackend parses the subdirective backend, which stands for both an authenticator
// and a handler.
func parseBackend(h *Handler, d *caddyfile.Dispenser) error {
	if err := parseHandlerGuest(h, d, "backend"); err != nil {
		return err
	}
	authenticator := caddyconfig.JSONModuleObject(new(BackendAuthenticator), "authenticator", "backend", nil)
	h.AuthenticatorsRaw = append(h.AuthenticatorsRaw, authenticator)
	return nil
}

// A handleSegment has the tokens of the block of HTTP handlers, until
// FinalizeUnmarshalCaddyfile parses them with a helper.
type handleSegment struct{ *caddyfile.Dispenser }

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	backend <url> {
//		secret      <secret>...
//		unsigned
//		events      <glob>...
//		forward     <header>...
//		timeout     <connect> <event>
//		concurrency <n>
//		batch       [<max>]
//		retry       unsent|unknown
//		on_error    reject|accept
//		notify      connect|disconnect...
//		notify      off
//	}
//
// Or, instead of a URL, any HTTP handlers, whose requests have the path, which
// is /realtime by default:
//
//	backend [<path>] {
//		handle {
//			<directive>...
//		}
//	}
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	where := newPositions(d)
	args := d.RemainingArgs()
	switch {
	case len(args) > 1:
		return d.Errf("backend takes one URL, such as http://localhost:3000/realtime, not %q, "+
			"too; several upstreams go into handle { reverse_proxy … }", args[1])
	case len(args) == 1 && strings.HasPrefix(args[0], "/"):
		b.Path = args[0]
	case len(args) == 1:
		b.URL = args[0]
	}
	seen, last := make(map[string]bool), ""
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch {
		case option == "{":
			return d.Errf("backend: %s takes no block", last)
		case seen[option]:
			return d.Errf("backend: %s is there already; write it once", option)
		}
		seen[option], last = true, option
		where.add(option, d)
		if err := b.parseOption(d, option); err != nil {
			return err
		}
	}
	switch {
	case b.URL != "" && b.handle != nil:
		return where.wrap("", errors.New("backend: a URL and handle exclude each other; leave one of them out"))
	case b.URL == "" && b.handle == nil:
		return where.wrap("", errors.New("backend: there is nowhere to ask; write a URL such as http://localhost:3000/realtime, or a block with handle"))
	case b.handle != nil:
		b.where = where
		return nil // FinalizeUnmarshalCaddyfile validates it
	}
	if err := b.Validate(); err != nil {
		return where.wrap("backend: ", err)
	}
	return nil
}

func (b *Backend) parseOption(d *caddyfile.Dispenser, option string) error {
	if option == "handle" {
		b.handle = &handleSegment{d.NewFromNextSegment()}
		return nil
	}
	args := d.RemainingArgs()
	switch option {
	case "secret":
		if b.Secrets = args; len(args) == 0 {
			return d.Err("backend: secret takes one secret or several, " +
				"such as {env.REALTIME_SECRET}; an unset {$VARIABLE} expands to nothing")
		}
	case "unsigned":
		if b.Unsigned = true; len(args) > 0 {
			return d.Errf("backend: unsigned takes no argument such as %q; write it alone", args[0])
		}
	case "events":
		if b.Events = args; len(args) == 0 {
			return d.Err("backend: events takes one or more globs, such as order:*")
		}
	case "forward":
		if b.Forward = args; len(args) == 0 {
			return d.Err("backend: forward takes one or more headers, such as Cookie Authorization")
		}
	case "timeout":
		if len(args) != 2 {
			return d.Err("backend: timeout takes two durations, for connects and for events, such as 3s 5s")
		}
		if err := parseDuration(d, "backend: timeout", args[0], &b.ConnectTimeout); err != nil {
			return err
		}
		return parseDuration(d, "backend: timeout", args[1], &b.EventTimeout)
	case "concurrency":
		var err error
		if len(args) == 1 {
			b.Concurrency, err = strconv.Atoi(args[0])
		}
		if len(args) != 1 || err != nil || b.Concurrency < 1 {
			return d.Errf("backend: concurrency takes one number from 1 on, such as %d",
				webhook.DefaultConcurrency)
		}
	case "batch":
		b.Batch = webhook.DefaultBatch
		var err error
		if len(args) == 1 {
			b.Batch, err = strconv.Atoi(args[0])
		}
		if len(args) > 1 || err != nil || b.Batch < 2 || b.Batch > maxBatch {
			return d.Errf("backend: batch takes one number from 2 to %d, or nothing, which is %d",
				maxBatch, webhook.DefaultBatch)
		}
	case "on_error":
		if len(args) != 1 || args[0] != onErrorReject && args[0] != onErrorAccept {
			return d.Err("backend: on_error takes reject or accept")
		}
		b.OnError = args[0]
	case "retry":
		if len(args) != 1 || args[0] != retryUnsent && args[0] != retryUnknown {
			return d.Err("backend: retry takes unsent or unknown")
		}
		b.Retry = args[0]
	case "notify":
		if b.Notify = args; len(args) == 0 {
			return d.Err("backend: notify takes connect, disconnect or both, or off")
		}
		if err := b.checkNotify(); err != nil {
			return d.WrapErr(err)
		}
	default:
		return d.Errf("backend has no option %q%s; "+
			"it has batch, concurrency, events, forward, handle, notify, on_error, retry, secret, timeout and unsigned",
			option, didYouMean(option, []string{
				"batch", "concurrency", "events", "forward", "handle", "notify",
				"on_error", "retry", "secret", "timeout", "unsigned",
			}))
	}
	return nil
}

// A finalizer is a guest that needs more than its tokens to be parsed, as
// reverse_proxy does.
type finalizer interface {
	FinalizeUnmarshalCaddyfile(helper httpcaddyfile.Helper) error
}

// FinalizeUnmarshalCaddyfile parses the HTTP handlers.
func (b *Backend) FinalizeUnmarshalCaddyfile(helper httpcaddyfile.Helper) error {
	if b.handle == nil {
		return nil
	}
	d := b.handle.Dispenser
	b.handle = nil
	subroute, err := httpcaddyfile.ParseSegmentAsSubroute(helper.WithDispenser(d))
	if err != nil {
		return err
	}
	if s, ok := subroute.(*caddyhttp.Subroute); ok && len(s.Routes) == 0 {
		return d.Err("backend: handle is empty; write a directive in it that answers " +
			"requests, such as reverse_proxy")
	}
	b.HandleRaw = []json.RawMessage{caddyconfig.JSONModuleObject(subroute, "handler", "subroute", nil)}
	if err := b.Validate(); err != nil {
		return b.where.wrap("backend: ", err)
	}
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. There are no options.
func (*BackendAuthenticator) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the authenticator's name
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Err("authenticator backend takes nothing; " +
			"options are those of handler backend, and the subdirective backend is both")
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Backend)(nil)
	_ caddyfile.Unmarshaler = (*BackendAuthenticator)(nil)
	_ finalizer             = (*Backend)(nil)
)
