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

func newMessageID() string { return messagePrefix + randid.New() }

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

// eventData is what is said of an event; its arguments and wants_ack follow.
type eventData struct {
	Socket eventSocket                `json:"socket"`
	State  map[string]json.RawMessage `json:"state"`
	Event  string                     `json:"event"`
}

type eventSocket struct {
	ID        string   `json:"id"`
	Session   string   `json:"session"`
	Node      string   `json:"node"`
	Namespace string   `json:"namespace"`
	User      *string  `json:"user"`
	Seq       uint64   `json:"seq"`
	Rooms     []string `json:"rooms"`
}

func newEvent(e *realtime.Event) *request {
	s := e.Socket
	rooms := s.Rooms()
	if rooms == nil {
		rooms = []string{}
	}
	data := encode(eventData{
		Socket: eventSocket{
			ID:        s.ID(),
			Session:   s.Session(),
			Node:      s.Namespace().Hub().Node(),
			Namespace: s.Namespace().Name(),
			User:      optional(s.User()),
			Seq:       e.Seq,
			Rooms:     rooms,
		},
		State: stateOf(s),
		Event: e.Name,
	})
	// Arguments are JSON already, and not looked through again.
	data = append(data[:len(data)-1], `,"args":`...)
	data = realtime.AppendInlineArgs(data, e.Args)
	data = append(data, `,"wants_ack":`...)
	data = strconv.AppendBool(data, e.Ack != nil)
	r := newRequest(typeEvent, append(data, '}'), s.Peer())
	r.event = e.Name
	return r
}

func stateOf(s *realtime.Socket) map[string]json.RawMessage {
	if state := s.Data(); state != nil {
		return state
	}
	return map[string]json.RawMessage{}
}
