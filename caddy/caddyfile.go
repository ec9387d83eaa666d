package caddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/plainws"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("realtime", parseDirective)
	// After encode, and before the directives that answer requests.
	httpcaddyfile.RegisterDirectiveOrder("realtime", httpcaddyfile.After, "encode")
}

func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := &Handler{helper: &helper}
	start := *helper.Dispenser
	start.Next() // the directive's name
	if err := h.UnmarshalCaddyfile(helper.Dispenser); err != nil {
		return h, err
	}
	return h, checkSame(h, helper, start.Token())
}

// A firstBlock is the first block of an endpoint's name in a Caddyfile.
type firstBlock struct {
	config []byte
	at     string
}

// checkSame reports a block that differs from an earlier one of its name, and where each is. The
// sites tell blocks apart that both come from one line of a snippet.
func checkSame(h *Handler, helper httpcaddyfile.Helper, at caddyfile.Token) error {
	compared := *h
	compared.setDefaults()
	config, err := json.Marshal(&compared)
	if err != nil || helper.State == nil {
		return err
	}
	key := "realtime block " + compared.Name
	first, found := helper.State[key].(firstBlock)
	if !found {
		helper.State[key] = firstBlock{config, whereIs(helper, at)}
		return nil
	}
	if !bytes.Equal(first.config, config) {
		return fmt.Errorf("two realtime blocks are named %q but differ, at %s and %s: "+
			"make them identical, or give one of them another name",
			compared.Name, first.at, whereIs(helper, at))
	}
	return nil
}

// whereIs returns the line of a token, and the addresses of its site if it can tell.
func whereIs(helper httpcaddyfile.Helper, at caddyfile.Token) string {
	line := fmt.Sprintf("%s:%d", at.File, at.Line)
	if site := siteAddresses(helper); site != "" {
		line += " (" + site + ")"
	}
	return line
}

// siteAddresses returns the addresses of the site that a helper parses, as they are written. Caddy
// has no other way to them than the helper's unexported field, so they are "" if a new version of
// Caddy names it otherwise. The golden test of error-blocks-differ fails then.
func siteAddresses(helper httpcaddyfile.Helper) string {
	site := reflect.ValueOf(helper).FieldByName("parentBlock")
	if !site.IsValid() {
		return ""
	}
	keys := site.FieldByName("Keys")
	if !keys.IsValid() || keys.Type() != reflect.TypeFor[[]caddyfile.Token]() {
		return ""
	}
	var addresses []string
	for i := range keys.Len() {
		addresses = append(addresses, keys.Index(i).FieldByName("Text").String())
	}
	return strings.Join(addresses, ", ")
}

// subdirectives parse one subdirective each, whose name is the current token.
var subdirectives = map[string]func(*Handler, *caddyfile.Dispenser) error{
	"name":          func(h *Handler, d *caddyfile.Dispenser) error { return parseName(d, &h.Name) },
	"hub":           func(h *Handler, d *caddyfile.Dispenser) error { return parseName(d, &h.Hub) },
	"socketio":      parseSocketIO,
	"websocket":     parseWebSocket,
	"health":        parseHealth,
	"namespaces":    parseNamespaces,
	"api":           parseAPI,
	"origins":       parseOrigins,
	"backend":       parseBackend,
	"relay":         func(h *Handler, d *caddyfile.Dispenser) error { return parseHandlerGuest(h, d, "relay") },
	"handler":       parseHandler,
	"authenticator": parseAuthenticator,
	"ping":          parsePing,
	"compression":   parseCompression,
	"serve_client":  parseServeClient,
	"handover":      parseHandover,
	"limits":        parseLimits,
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	realtime [<matcher>] {
//		name       <endpoint>
//		hub        <hub>
//		socketio   [<path>] [{ eio3; transports [polling] [websocket] }] | off
//		websocket  <path> [json|raw]
//		health     [<path>] | off
//		namespaces <glob>...
//		api        <path> {
//			key <secret>...
//		}
//		origins    [strict] <origin>...
//		backend    <url> | [<path>] {
//			handle {
//				<directive>...
//			}
//			secret      <secret>...
//			unsigned
//			events      <glob>...
//			forward     <header>...
//			timeout     <connect> <event>
//			concurrency <n>
//			on_error    reject|accept
//		}
//		relay {
//			events <glob>...
//			rooms  <glob>...
//		}
//		authenticator <guest> ...
//		handler       <guest> ...
//		ping       <interval> <timeout>
//		compression off | on [<min_size>]
//		serve_client <dir>
//		handover     on|off
//		limits {
//			payload     <size>
//			queue       <size> [close|drop_volatile]
//			handshake   <duration>
//			pending     <n>
//			headers     <size>
//			namespaces  <n>
//			rooms       <n>
//			acks        <n>
//			arguments   <n>
//			attachments <n>
//			depth       <n>
//			event_name  <size>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	where := newPositions(d)
	if d.NextArg() {
		return d.Errf("realtime takes a matcher and a block, not %q", d.Val())
	}
	seen, last := make(map[string]bool), ""
	repeatable := []string{"websocket", "relay", "handler", "authenticator"}
	for d.NextBlock(0) {
		name := d.Val()
		if name == "{" {
			return d.Errf("%s takes no block", last)
		}
		last = name
		parse, ok := subdirectives[name]
		if !ok && slices.Contains(hubOptions, name) {
			return d.Errf("%s is an option of the hub; write it into realtime in the global "+
				"options, at the top of the Caddyfile", name)
		}
		if place := placeOf(name); !ok && place != "" {
			return d.Errf("%s is no subdirective of realtime; write it into %s", name, place)
		}
		if !ok && (name == "jwt" || name == "placeholder") {
			return d.Errf("%s is an authenticator; write authenticator %[1]s", name)
		}
		if !ok {
			names := slices.Sorted(maps.Keys(subdirectives))
			return d.Errf("realtime has no subdirective %q%s; it has %s",
				name, didYouMean(name, names), strings.Join(names, ", "))
		}
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("%s is there already; write it once", name)
		}
		seen[name] = true
		if err := parse(h, d); err != nil {
			return err
		}
		where.add(name, d)
	}
	// Only now, since the options may be written in any order.
	if err := h.checkPaths(); err != nil {
		return where.wrap("", err)
	}
	return nil
}

// placeOf returns the block that has an option of this name, which realtime itself does
// not have; "" if there is none.
func placeOf(option string) string {
	switch option {
	case "rooms":
		return "relay, or into limits"
	case "eio3", "transports":
		return "socketio"
	case "secret":
		return "backend, or into authenticator jwt"
	case "key":
		return "api, or into authenticator jwt"
	case "events":
		return "backend, or into relay"
	case "concurrency", "forward", "handle", "notify", "on_error", "retry", "timeout", "unsigned":
		return "backend"
	case "jwks", "token", "issuer", "audience", "leeway", "expiry":
		return "authenticator jwt"
	}
	if _, ok := limitParsers[option]; ok {
		return "limits"
	}
	return ""
}

func parseName(d *caddyfile.Dispenser, name *string) error {
	subdirective := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("%s takes one name", subdirective)
	}
	*name = args[0]
	return nil
}

func parseHealth(h *Handler, d *caddyfile.Dispenser) error {
	path, off, err := parsePathOrOff(d)
	h.Health = &Health{Path: path, Off: off}
	return err
}

func parsePathOrOff(d *caddyfile.Dispenser) (path string, off bool, err error) {
	subdirective := d.Val()
	args := d.RemainingArgs()
	switch {
	case len(args) > 1:
		return "", false, d.Errf("%s takes one path, or off", subdirective)
	case len(args) == 0:
		return "", false, nil
	case args[0] == "off":
		return "", true, nil
	}
	return args[0], false, nil
}

func parseWebSocket(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	ws := WebSocket{Format: string(plainws.JSON)}
	switch {
	case len(args) < 1 || len(args) > 2:
		return d.Err("websocket takes a path, then json or raw")
	case len(args) == 2 && args[1] != string(plainws.JSON) && args[1] != string(plainws.Raw):
		return d.Errf("websocket: the format %q is unknown; it is json or raw", args[1])
	case len(args) == 2:
		ws.Format = args[1]
	}
	ws.Path = args[0]
	h.WebSockets = append(h.WebSockets, ws)
	return nil
}

func parseNamespaces(h *Handler, d *caddyfile.Dispenser) error {
	h.Namespaces = d.RemainingArgs()
	if len(h.Namespaces) == 0 {
		return d.Err("namespaces takes one or more globs, such as / or /tenant-*")
	}
	if err := h.checkNamespaces(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseOrigins(h *Handler, d *caddyfile.Dispenser) error {
	h.Origins = d.RemainingArgs()
	if len(h.Origins) == 0 {
		return d.Err("origins takes one or more origins, such as https://app.example.com; " +
			"leave it out for the same origin only")
	}
	if strings.Contains(strings.Join(h.Origins, ""), "{") {
		return nil // filled in when provisioned, and checked then
	}
	if _, err := origin.New(h.Origins...); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseHandler(h *Handler, d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("handler takes the name of a guest; this build has %s", guestNames("realtime.handlers"))
	}
	return parseHandlerGuest(h, d, d.Val())
}

func parseHandlerGuest(h *Handler, d *caddyfile.Dispenser, name string) error {
	guest, err := parseGuest(d, h.helper, "realtime.handlers", "handler", name)
	h.HandlersRaw = append(h.HandlersRaw, guest)
	return err
}

func parseAuthenticator(h *Handler, d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("authenticator takes the name of a guest; this build has %s",
			guestNames("realtime.authenticators"))
	}
	guest, err := parseGuest(d, h.helper, "realtime.authenticators", "authenticator", d.Val())
	h.AuthenticatorsRaw = append(h.AuthenticatorsRaw, guest)
	return err
}

// parseGuest lets the guest of a name parse its own options, and returns the guest's JSON. The
// current token is the name.
//
// helper is nil for brokers, since Caddy gives none to global options. It is nil, too, if Go code
// calls Handler.UnmarshalCaddyfile by itself. A finalizer then has no helper to be called with, and
// must do without.
func parseGuest(d *caddyfile.Dispenser, helper *httpcaddyfile.Helper, namespace, key, name string) ([]byte, error) {
	id := namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return nil, d.Errf("there is no %s %q in this build%s; it has %s", key, name,
			didYouMean(name, strings.Split(guestNames(namespace), ", ")), guestNames(namespace))
	}
	guest, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, err
	}
	if f, ok := guest.(finalizer); ok && helper != nil {
		if err := f.FinalizeUnmarshalCaddyfile(*helper); err != nil {
			return nil, err
		}
	}
	if b, ok := guest.(*Backend); ok && b.handle != nil {
		return nil, d.Err("backend: handle can be parsed only within a site of a Caddyfile; " +
			"write a URL instead")
	}
	return caddyconfig.JSONModuleObject(guest, key, name, nil), nil
}

// guestNames lists the guests in this build, for error messages.
func guestNames(namespace string) string {
	var names []string
	for _, module := range caddy.GetModules(namespace) {
		names = append(names, module.ID.Name())
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func parsePing(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("ping takes an interval and a timeout, such as 25s 20s")
	}
	for i, field := range []*caddy.Duration{&h.Ping.Interval, &h.Ping.Timeout} {
		if err := parseDuration(d, "ping", args[i], field); err != nil {
			return err
		}
	}
	return nil
}

func parseCompression(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		h.Compression = Compression{}
		return nil
	case len(args) == 0 || len(args) > 2 || args[0] != "on":
		return d.Err("compression takes off, or on and the size from which messages are " +
			"compressed, such as 1KiB")
	case len(args) == 2:
		if err := parseSize(d, "compression", args[1], &h.Compression.MinSize); err != nil {
			return err
		}
	}
	h.Compression.On = true
	return nil
}

func parseServeClient(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Err("serve_client takes one folder, such as node_modules/socket.io-client/dist")
	}
	h.ServeClient = args[0]
	return nil
}

func parseHandover(h *Handler, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] != handoverOn && args[0] != handoverOff {
		return d.Err("handover takes on or off")
	}
	h.Handover = args[0]
	return nil
}

// maxSize is the largest size that can be configured. It fits into an int on 32-bit systems.
const maxSize = 1 << 30

func parseSize(d *caddyfile.Dispenser, name, text string, field *int64) error {
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > maxSize {
		return d.Errf("%s: %q is no size between 1B and 1GiB; write one such as 1MB or 64KiB", name, text)
	}
	*field = int64(size)
	return nil
}

func parseDuration(d *caddyfile.Dispenser, name, text string, field *caddy.Duration) error {
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < time.Millisecond {
		return d.Errf("%s: %q is no duration; write one such as 25s or 500ms", name, text)
	}
	*field = caddy.Duration(duration)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
