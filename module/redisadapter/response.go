package redisadapter

import (
	"encoding/json"
	"math"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A responseJSON is a response other than clientAck as the adapter writes it. A nil list is left out,
// and an empty one is not: the adapter ignores answers without the list.
type responseJSON struct {
	Kind        kind            `json:"type,omitempty"` // left out in answers to listSockets, listRooms and fetchSockets
	ID          string          `json:"requestId"`
	Sockets     any             `json:"sockets,omitempty"` // []string or []socketJSON
	Rooms       []string        `json:"rooms,omitzero"`
	Data        json.RawMessage `json:"data,omitempty"`
	ClientCount *int            `json:"clientCount,omitempty"`
}

// A socketJSON is a socket in the answer to fetchSockets.
type socketJSON struct {
	ID        string                     `json:"id"`
	Handshake handshakeJSON              `json:"handshake"`
	Rooms     []string                   `json:"rooms"`
	Data      map[string]json.RawMessage `json:"data"`
}

// A handshakeJSON is a socket's handshake, without what the client has sent for authentication.
type handshakeJSON struct {
	Headers map[string]string `json:"headers"`
	Time    string            `json:"time"`
	Address string            `json:"address"`
	XDomain bool              `json:"xdomain"`
	Secure  bool              `json:"secure"`
	Issued  int64             `json:"issued"` // milliseconds since 1970
	URL     string            `json:"url"`
	Query   map[string]string `json:"query"`
	Auth    struct{}          `json:"auth"`
}

// encodeAck returns the ack of one client. The adapter passes on its first argument only.
func encodeAck(id string, args []realtime.Arg) []byte {
	members := 2
	if len(args) > 0 {
		members++
	}
	dst := msgpack.AppendMap(make([]byte, 0, 64), members)
	dst = msgpack.AppendUint(msgpack.AppendString(dst, "type"), uint64(clientAck))
	dst = msgpack.AppendString(msgpack.AppendString(dst, "requestId"), id)
	if len(args) > 0 {
		dst = msgpack.Append(msgpack.AppendString(dst, "packet"), args[0].JSON, args[0].Binary, math.MaxInt)
	}
	return dst
}

// A response is what one server answers to a request.
type response struct {
	kind        kind // clientCount or clientAck; 0 means another one
	id          string
	sockets     []socket // nil if it has no such list
	clientCount int
	ack         realtime.Arg
}

// A socket is one of another server.
type socket struct {
	id     string
	rooms  []string // its own among them
	data   map[string]json.RawMessage
	issued int64 // when it connected, in milliseconds since 1970
}

// parseResponse reads an answer to fetchSockets or broadcastWithAck.
func parseResponse(message []byte) (r response, err error) {
	v, err := parse(message)
	if err != nil {
		return r, err
	}
	members, err := v.members()
	if err != nil {
		return r, err
	}
	if r.id, err = members["requestId"].string(); err != nil {
		return r, err
	}
	number, err := members["type"].number()
	if err != nil {
		return r, err
	}
	switch r.kind = kind(number); r.kind {
	case clientCount:
		r.clientCount, err = members["clientCount"].number()
	case clientAck:
		if ack := members["packet"]; len(ack.text) > 0 {
			r.ack = ack.arg()
		}
	default:
		r.sockets, err = members["sockets"].sockets()
	}
	return r, err
}

// sockets reads the sockets of an answer. It returns nil if there are none, or only their ids.
func (v value) sockets() ([]socket, error) {
	if v.none() {
		return nil, nil
	}
	elements, err := v.elements(maxSockets)
	if err != nil {
		return nil, err
	}
	all := make([]socket, 0, len(elements))
	for _, e := range elements {
		if !rawjson.Object(e.text) {
			return nil, nil
		}
		s, err := e.socket()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (v value) socket() (s socket, err error) {
	members, err := v.members()
	if err != nil {
		return s, err
	}
	if s.id, err = members["id"].string(); err != nil || s.id == "" {
		return s, errMessage
	}
	if s.rooms, err = members["rooms"].names(); err != nil {
		return s, err
	}
	if data := members["data"]; rawjson.Object(data.text) { // it may be anything in Node.js
		if err := json.Unmarshal(data.text, &s.data); err != nil {
			return s, err
		}
	}
	if handshake := members["handshake"]; rawjson.Object(handshake.text) {
		for name, value := range rawjson.Members(handshake.text) {
			if rawjson.Named(name, "issued") && json.Unmarshal(value, &s.issued) != nil {
				return s, errMessage
			}
		}
	}
	return s, nil
}
