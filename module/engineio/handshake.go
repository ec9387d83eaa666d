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

// parseParameters reads a request's query as [net/url.ParseQuery] does, without a map of all that
// is in it: every request of a polling client has one.
func parseParameters(r *http.Request) parameters {
	var p parameters
	var transport, sid, revision, base64 parameter
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if strings.Contains(pair, ";") {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		switch name {
		case "transport":
			transport.add(value)
		case "sid":
			p.hasSID = sid.add(value) || p.hasSID // an empty one counts as missing
		case "EIO":
			revision.add(value)
		case "b64":
			base64.add(value)
		}
	}
	p.transport, p.sid = transport.single(), sid.single()
	if revision.count <= 1 {
		p.codec = codecOf(revision.first)
	}
	p.base64 = base64.first != ""
	return p
}

// A parameter is one of a query. It may be repeated.
type parameter struct {
	first string
	count int
}

// add adds a value as it is in the query, and reports whether it is one that is not empty.
func (p *parameter) add(value string) bool {
	value, err := url.QueryUnescape(value)
	if err != nil {
		return false
	}
	if p.count++; p.count == 1 {
		p.first = value
	}
	return value != ""
}

// single returns the value of a parameter; "" if it is missing or repeated. Two readers of
// a query must never see two different values.
func (p *parameter) single() string {
	if p.count == 1 {
		return p.first
	}
	return ""
}
