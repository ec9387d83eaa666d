package redisadapter

import (
	"bytes"
	"encoding/json"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A kind is what a request asks for, or what a response answers.
type kind int

const (
	listSockets       kind = iota // answered with the ids of the sockets in any of the rooms
	listRooms                     // answered with the rooms of the server, its sockets' own among them
	joinRooms                     // not answered, like the next two
	leaveRooms                    //
	disconnectSockets             //
	fetchSockets                  // answered with the sockets
	serverSideEmit                // an event for the servers, answered if it has an id
	broadcastWithAck              // answered with a clientCount, and then with an ack for each client
	clientCount                   // only a response
	clientAck                     // only a response
)

// A request asks all servers for something.
type request struct {
	uid  string // of the server that asks; "" for an emitter
	id   string // "" if no answer is awaited
	kind kind

	options            // whom it is about
	rooms     []string // that sockets shall join or leave
	close     bool     // with disconnectSockets: the whole connection
	packet    packet   // with broadcastWithAck
	arguments value    // with serverSideEmit: the event and its arguments
}

// parseRequest reads a request. Up to version 6, requests were about one socket: they have its id sid,
// and room in place of rooms.
func parseRequest(message []byte) (r request, err error) {
	v, err := parse(message)
	if err != nil {
		return r, err
	}
	members, err := v.members()
	if err != nil {
		return r, err
	}
	if _, old := members["requestid"]; old || members["type"].none() {
		return r, errMessage // up to version 5, the numbers of the types were others
	}
	number, err := members["type"].number()
	if err != nil {
		return r, err
	}
	r.kind = kind(number)
	if r.uid, err = members["uid"].string(); err != nil {
		return r, err
	}
	if r.id, err = members["requestId"].string(); err != nil {
		return r, err
	}
	if r.options, err = members["opts"].options(); err != nil {
		return r, err
	}
	if r.rooms, err = members["rooms"].names(); err != nil {
		return r, err
	}
	switch r.kind {
	case listSockets:
		r.options.rooms = r.rooms
	case joinRooms, leaveRooms, disconnectSockets:
		r.close = members["close"].isTrue()
		if members["opts"].none() {
			err = r.setSocket(members)
		}
	case serverSideEmit:
		r.arguments = members["data"]
	case broadcastWithAck:
		r.packet, err = members["packet"].packet()
	}
	return r, err
}

// setSocket makes the request one about one socket.
func (r *request) setSocket(members map[string]value) error {
	id, err := members["sid"].string()
	if err != nil || id == "" {
		return errMessage // it must not be one about everybody
	}
	r.options.rooms = []string{id}
	if r.kind == disconnectSockets {
		return nil
	}
	room, err := members["room"].name()
	r.rooms = []string{room}
	return err
}

// A requestJSON is a request other than broadcastWithAck as the adapter writes it.
type requestJSON struct {
	UID     string       `json:"uid"`
	ID      string       `json:"requestId,omitempty"`
	Kind    kind         `json:"type"`
	Options *optionsJSON `json:"opts,omitempty"`
	Rooms   []string     `json:"rooms,omitempty"`
	Close   *bool        `json:"close,omitempty"`
}

type optionsJSON struct {
	Rooms  jsonNames `json:"rooms"`
	Except jsonNames `json:"except"`
}

// encode returns a request of one of the kinds joinRooms, leaveRooms, disconnectSockets, fetchSockets.
func (r *request) encode() []byte {
	j := requestJSON{UID: r.uid, ID: r.id, Kind: r.kind, Options: &optionsJSON{r.options.rooms, r.except}, Rooms: r.rooms}
	if r.kind == disconnectSockets {
		j.Close = &r.close
	}
	return encodeJSON(&j)
}

// encodeBroadcastWithAck returns a request of that kind.
func encodeBroadcastWithAck(uid, id string, m *realtime.Message, o *options) []byte {
	dst := msgpack.AppendMap(make([]byte, 0, sizeOf(m, o)), 5)
	dst = msgpack.AppendString(msgpack.AppendString(dst, "uid"), uid)
	dst = msgpack.AppendString(msgpack.AppendString(dst, "requestId"), id)
	dst = msgpack.AppendUint(msgpack.AppendString(dst, "type"), uint64(broadcastWithAck))
	dst = appendPacket(msgpack.AppendString(dst, "packet"), m)
	return o.append(msgpack.AppendString(dst, "opts"))
}

func encodeJSON(v any) json.RawMessage {
	var b bytes.Buffer
	if err := rawjson.Encode(&b, v); err != nil {
		panic(err) // cannot happen: all raw JSON in it is valid
	}
	return b.Bytes()
}
