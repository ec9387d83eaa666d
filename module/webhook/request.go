package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The types of requests.
const (
	typeConnect    = "socket.connect"
	typeEvent      = "socket.event"
	typeDisconnect = "socket.disconnect"
	typeRecovered  = "socket.recovered"
)

// A request is what the backend is asked or told, in one attempt or several.
type request struct {
	id     string // the same for each attempt
	kind   string
	event  string // its name, where it is one
	data   json.RawMessage
	peer   realtime.Peer
	header http.Header // those of the handshake that are passed on; nil: none
}

func newRequest(kind string, data json.RawMessage, peer realtime.Peer) *request {
	return &request{id: newMessageID(), kind: kind, data: data, peer: peer}
}

const messagePrefix = "msg_"

func newMessageID() string { return randid.WithPrefix(messagePrefix) }

func peerOf(h *realtime.Handshake) realtime.Peer {
	return realtime.Peer{ClientIP: h.ClientIP, Host: h.Host, Secure: h.Secure}
}

// body returns what an attempt sends. Attempts count from 1.
func (r *request) body(attempt int, at time.Time) []byte {
	b := make([]byte, 0, len(r.data)+128)
	b = append(b, `{"v":1,"type":"`...)
	b = append(b, r.kind...)
	b = append(b, `","timestamp":"`...)
	b = at.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","attempt":`...)
	b = strconv.AppendInt(b, int64(attempt), 10)
	b = append(b, `,"data":`...)
	b = append(b, r.data...)
	return append(b, '}')
}

// timeFormat is RFC 3339 in milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// encode returns the JSON of a value that consists of strings, numbers and valid JSON.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	b.Grow(512) // as most are
	if err := rawjson.Encode(&b, v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type connectData struct {
	Socket  connectSocket              `json:"socket"`
	State   map[string]json.RawMessage `json:"state,omitempty"` // what other authenticators have said
	Request connectRequest             `json:"request"`
	Auth    json.RawMessage            `json:"auth"`
}

type connectSocket struct {
	ID        string  `json:"id"`
	Session   string  `json:"session"`
	Node      string  `json:"node"`
	Namespace string  `json:"namespace"`
	Protocol  string  `json:"protocol"`
	Transport string  `json:"transport"`
	Origin    *string `json:"origin"`
	RemoteIP  string  `json:"remote_ip"`
	Secure    bool    `json:"secure"`
	User      *string `json:"user"`
}

type connectRequest struct {
	Path    string            `json:"path"`
	Query   map[string]any    `json:"query"` // a string, or an array of them where a name is there several times
	Headers map[string]string `json:"headers"`
}

func newConnect(namespace string, h *realtime.Handshake, forward []string) *request {
	data := connectData{
		Socket: connectSocket{
			ID:        h.SocketID,
			Session:   h.Session,
			Node:      h.Endpoint.Hub().Node(),
			Namespace: namespace,
			Protocol:  h.Protocol,
			Transport: h.Transport,
			Origin:    optional(h.Origin),
			RemoteIP:  h.ClientIP,
			Secure:    h.Secure,
			User:      optional(h.Identity.User),
		},
		State: h.Identity.Data,
		Request: connectRequest{
			Path:    h.Path,
			Query:   queryOf(h),
			Headers: make(map[string]string),
		},
		Auth: h.Auth,
	}
	if len(data.Auth) == 0 {
		data.Auth = json.RawMessage("{}")
	}
	passed := make(http.Header)
	for name, values := range h.Header {
		switch {
		case slices.ContainsFunc(forward, func(f string) bool { return strings.EqualFold(f, name) }):
			passed[name] = values
		case name != "Cookie" && name != "Authorization" && name != "Sec-Websocket-Protocol": // not where they are not meant to go
			data.Request.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	r := newRequest(typeConnect, encode(data), peerOf(h))
	r.header = passed
	return r
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// queryOf returns the query of a handshake without what is Engine.IO's own.
func queryOf(h *realtime.Handshake) map[string]any {
	query := make(map[string]any, len(h.Query))
	for name, values := range h.Query {
		if h.Protocol == "socket.io" && slices.Contains([]string{"EIO", "transport", "sid", "t", "j", "b64"}, name) {
			continue
		}
		if len(values) == 1 {
			query[name] = values[0]
		} else {
			query[name] = values
		}
	}
	return query
}

func newEvent(e *realtime.Event) request {
	s := e.Socket
	data := make([]byte, 0, 512) // as most are
	text := func(before, value string) { data = rawjson.AppendString(append(data, before...), value) }
	text(`{"socket":{"id":`, s.ID())
	text(`,"session":`, s.Session())
	text(`,"node":`, s.Namespace().Hub().Node())
	text(`,"namespace":`, s.Namespace().Name())
	if user := s.User(); user != "" {
		text(`,"user":`, user)
	} else {
		data = append(data, `,"user":null`...)
	}
	data = append(data, `,"seq":`...)
	data = strconv.AppendUint(data, e.Seq, 10)
	data = append(data, `,"rooms":[`...)
	for i, room := range s.Rooms() {
		if i > 0 {
			data = append(data, ',')
		}
		text("", room)
	}
	data = append(data, `]},"state":`...)
	data = rawjson.AppendObject(data, s.Data())
	text(`,"event":`, e.Name)
	data = append(data, `,"args":`...)
	data = realtime.AppendInlineArgs(data, e.Args)
	data = append(data, `,"wants_ack":`...)
	data = strconv.AppendBool(data, e.Ack != nil)
	return request{id: newMessageID(), kind: typeEvent, event: e.Name, data: append(data, '}'), peer: s.Peer()}
}

func stateOf(s *realtime.Socket) map[string]json.RawMessage {
	if state := s.Data(); state != nil {
		return state
	}
	return map[string]json.RawMessage{}
}
