package chain

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(Transport)) }

// protocol is the name of [Transport] among reverse_proxy's transports.
const protocol = "realtime"

// Transport is reverse_proxy's HTTP transport, but it watches its connections to the backend.
// Inside a realtime backend it takes the place of the transport "http", and has its options.
// No configuration needs to name it.
//
// The connections must be watched from the start: reverse_proxy begins its health checks while
// it is provisioned, and from then on nobody may change its transport.
type Transport struct {
	reverseproxy.HTTPTransport
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport." + protocol, New: func() caddy.Module { return new(Transport) }}
}

// Provision implements [caddy.Provisioner].
func (t *Transport) Provision(ctx caddy.Context) error {
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	// With h2c all connections are HTTP/2, which says by itself what was not looked at.
	dial := t.Transport.DialContext
	if dial == nil || slices.Contains(t.Versions, "h2c") {
		return nil
	}
	t.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return watch(conn), nil
	}
	return nil
}

// watched returns a handler's JSON in which each reverse_proxy has a [Transport] in place of the
// HTTP transport. JSON that is not a handler's stays as it is: Caddy says what is wrong with it.
func watched(raw json.RawMessage) json.RawMessage {
	var handler map[string]json.RawMessage
	if json.Unmarshal(raw, &handler) != nil {
		return raw
	}
	switch text(handler["handler"]) {
	case "subroute":
		var routes []map[string]json.RawMessage
		if json.Unmarshal(handler["routes"], &routes) != nil {
			return raw
		}
		for _, route := range routes {
			var handlers []json.RawMessage
			if json.Unmarshal(route["handle"], &handlers) != nil {
				continue
			}
			for i := range handlers {
				handlers[i] = watched(handlers[i])
			}
			route["handle"] = marshal(handlers)
		}
		handler["routes"] = marshal(routes)
	case "reverse_proxy":
		transport := map[string]json.RawMessage{"protocol": json.RawMessage(`"http"`)} // the default
		if given, ok := handler["transport"]; ok && json.Unmarshal(given, &transport) != nil {
			return raw
		}
		if text(transport["protocol"]) != "http" {
			return raw
		}
		transport["protocol"] = marshal(protocol)
		handler["transport"] = marshal(transport)
	default:
		return raw
	}
	return marshal(handler)
}

// text returns a JSON string, and "" for anything else.
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s) // then s stays empty
	return s
}

// marshal returns the JSON of a string, or of what was JSON before.
func marshal(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// transportsOf returns the transport of each reverse_proxy in a handler that watched has changed.
func transportsOf(handler caddyhttp.MiddlewareHandler) (transports []*http.Transport) {
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		for _, route := range handler.Routes {
			for _, inner := range route.Handlers {
				transports = append(transports, transportsOf(inner)...)
			}
		}
	case *reverseproxy.Handler:
		if t, ok := handler.Transport.(*Transport); ok {
			transports = append(transports, t.Transport)
		}
	}
	return transports
}

// Interface guards
var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
)
