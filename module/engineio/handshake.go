package engineio

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// A Handshake is what a session remembers of the request that opened it. It
// holds no part of the request alive but what it names.
type Handshake struct {
	Time     time.Time
	ClientIP string
	Origin   string // as the client sent it; "" for a native client
	Host     string
	Path     string
	RawQuery string // Engine.IO's own parameters included
	Secure   bool   // whether the request came over TLS

	headers []header // those that the options keep
	values  []header // what else they do
}

// header is one field. A few of them take a tenth of what an http.Header does,
// and every session has some.
type header struct{ name, value string }

// Header returns the headers of the request that the server's options keep.
func (h *Handshake) Header() http.Header {
	kept := make(http.Header, len(h.headers))
	for _, header := range h.headers {
		kept.Add(header.name, header.value)
	}
	return kept
}

// Values returns what else of the request the server's options keep; nil if
// that is nothing.
func (h *Handshake) Values() map[string]string {
	if len(h.values) == 0 {
		return nil
	}
	kept := make(map[string]string, len(h.values))
	for _, value := range h.values {
		kept[value.name] = value.value
	}
	return kept
}

func newHandshake(r *http.Request, o *Options, values map[string]string) Handshake {
	h := Handshake{
		Time:     time.Now(),
		ClientIP: strings.Clone(o.ClientIP(r)),
		Origin:   strings.Clone(origin.Sent(r)),
		Host:     strings.Clone(r.Host),
		Path:     strings.Clone(r.URL.Path),
		RawQuery: strings.Clone(r.URL.RawQuery),
		Secure:   r.TLS != nil,
	}
	for _, name := range o.KeepHeaders {
		for _, value := range r.Header.Values(name) {
			h.headers = append(h.headers, header{name, strings.Clone(value)})
		}
	}
	for name, value := range values {
		h.values = append(h.values, header{name, strings.Clone(value)})
	}
	return h
}

// openPacket is the first packet of a session.
// https://socket.io/docs/v4/engine-io-protocol/#handshake
func openPacket(id string, upgrades []string, o *Options) Packet {
	data, err := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"` // milliseconds
		PingTimeout  int64    `json:"pingTimeout"`  // milliseconds
		MaxPayload   int64    `json:"maxPayload"`   // bytes
	}{id, upgrades, o.PingInterval.Milliseconds(), o.PingTimeout.Milliseconds(), o.MaxPayload})
	if err != nil {
		panic(err) // strings and numbers
	}
	return Packet{Type: Open, Data: data}
}

// parameters are Engine.IO's own query parameters.
type parameters struct {
	transport, sid string
	hasSID         bool
	version        version // 0 for one that there is not
	base64         bool    // binary data is to be sent as text
}

func parseParameters(r *http.Request) parameters {
	query := r.URL.Query()
	return parameters{
		transport: single(query, "transport"),
		sid:       single(query, "sid"),
		hasSID:    strings.Join(query["sid"], "") != "", // an empty one is none
		version:   versionOf(query),
		base64:    query.Get("b64") != "",
	}
}

// versionOf returns the version that a query asks for; 0 for one that there is not.
func versionOf(query url.Values) version {
	if len(query["EIO"]) > 1 {
		return 0
	}
	return parseVersion(query.Get("EIO"))
}

// single returns a parameter that is there once. A repeated one is none: two
// readers of the query must never see two different values.
func single(query url.Values, name string) string {
	if values := query[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}
