package engineio

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// A Handshake is what a session remembers of the request that opened it. RawQuery
// includes Engine.IO's own parameters; Header and Values return what Options.KeepHeaders
// and Options.KeepValues name.
type Handshake = handshake.Handshake

// openPacket is the first packet of a session.
// https://socket.io/docs/v4/engine-io-protocol/#handshake
func openPacket(id string, upgrades []string, o *Options) Packet {
	data := append(make([]byte, 0, 128), `{"sid":`...)
	data = rawjson.AppendString(data, id)
	data = append(data, `,"upgrades":[`...)
	for i, name := range upgrades {
		if i > 0 {
			data = append(data, ',')
		}
		data = rawjson.AppendString(data, name)
	}
	data = append(data, `],"pingInterval":`...) // milliseconds
	data = strconv.AppendInt(data, o.PingInterval.Milliseconds(), 10)
	data = append(data, `,"pingTimeout":`...) // milliseconds
	data = strconv.AppendInt(data, o.PingTimeout.Milliseconds(), 10)
	data = append(data, `,"maxPayload":`...) // bytes
	data = strconv.AppendInt(data, o.MaxPayload, 10)
	return Packet{Type: Open, Data: append(data, '}')}
}

// parameters are Engine.IO's own query parameters.
type parameters struct {
	transport, sid string
	hasSID         bool
	codec          *codec // nil if the revision is unknown
	base64         bool   // binary messages are to be sent as text
}

func parseParameters(r *http.Request) parameters {
	query := r.URL.Query()
	return parameters{
		transport: single(query, "transport"),
		sid:       single(query, "sid"),
		hasSID:    strings.Join(query["sid"], "") != "", // an empty one counts as missing
		codec:     codecOf(query),
		base64:    query.Get("b64") != "",
	}
}

// single returns the value of a parameter; "" if it is missing or repeated. Two readers of
// a query must never see two different values.
func single(query url.Values, name string) string {
	if values := query[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}
