package redisadapter

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The types of Socket.IO's packets that are broadcast.
const (
	packetEvent       = 2
	packetBinaryEvent = 5 // emitters in other languages write it
)

// A packet is an event. With a namespace, it is not of another one.
type packet struct {
	namespace string // "" if it has none
	event     string
	args      []realtime.Arg
}

func (v value) packet() (p packet, err error) {
	members, err := v.members()
	if err != nil {
		return p, err
	}
	if kind, err := members["type"].number(); err != nil || kind != packetEvent && kind != packetBinaryEvent {
		return p, errMessage
	}
	if p.namespace, err = members["nsp"].string(); err != nil {
		return p, err
	}
	data, err := members["data"].elements(maxNames)
	if err != nil {
		return p, err
	}
	if len(data) == 0 {
		return p, errMessage
	}
	if p.event, err = data[0].name(); err != nil {
		return p, err
	}
	p.args = make([]realtime.Arg, len(data)-1)
	for i, arg := range data[1:] {
		p.args[i] = arg.arg()
	}
	return p, nil
}

// appendPacket appends an event as MessagePack.
func appendPacket(dst []byte, m *realtime.Message) []byte {
	dst = msgpack.AppendMap(dst, 3)
	dst = msgpack.AppendUint(msgpack.AppendString(dst, "type"), packetEvent)
	dst = msgpack.AppendArray(msgpack.AppendString(dst, "data"), 1+len(m.Args))
	dst = msgpack.AppendString(dst, m.Event)
	for _, arg := range m.Args {
		dst = msgpack.Append(dst, arg.JSON, arg.Binary, math.MaxInt)
	}
	return msgpack.AppendString(msgpack.AppendString(dst, "nsp"), m.Namespace)
}

// options say whom something is for: the sockets in any of the rooms, or all if there is none, but
// for those in a room of except.
type options struct {
	rooms, except []string
	volatile      bool
	timeout       time.Duration // of acks
}

// options reads the member opts. Emitters in other languages leave out what is empty, and PHP writes
// an empty object as an array.
func (v value) options() (o options, err error) {
	if v.none() {
		return o, nil
	}
	members, err := v.members()
	if err != nil {
		return o, err
	}
	if o.rooms, err = members["rooms"].names(); err != nil {
		return o, err
	}
	if o.except, err = members["except"].names(); err != nil {
		return o, err
	}
	flags := members["flags"]
	if !rawjson.Object(flags.text) {
		return o, nil
	}
	if members, err = flags.members(); err != nil {
		return o, err
	}
	o.volatile = members["volatile"].isTrue()
	if raw := members["timeout"]; rawjson.Number(raw.text) {
		milliseconds, _ := strconv.ParseFloat(string(raw.text), 64)
		o.timeout = time.Duration(min(max(milliseconds, 0), float64(maxTimeout.Milliseconds())) * float64(time.Millisecond))
	}
	return o, nil
}

// maxTimeout is the longest timeout of Node.js: 24 days.
const maxTimeout = math.MaxInt32 * time.Millisecond

func (o *options) append(dst []byte) []byte {
	dst = msgpack.AppendMap(dst, 3)
	dst = appendNames(msgpack.AppendString(dst, "rooms"), o.rooms)
	dst = appendNames(msgpack.AppendString(dst, "except"), o.except)
	dst = msgpack.AppendString(dst, "flags")
	flags := 0
	if o.volatile {
		flags++
	}
	if o.timeout > 0 {
		flags++
	}
	dst = msgpack.AppendMap(dst, flags)
	if o.volatile {
		dst = msgpack.Append(msgpack.AppendString(dst, "volatile"), json.RawMessage("true"), nil, 0)
	}
	if o.timeout > 0 {
		dst = msgpack.AppendUint(msgpack.AppendString(dst, "timeout"), uint64(o.timeout.Milliseconds()))
	}
	return dst
}

// appendNames appends a list of names as MessagePack. In JavaScript, the room 1 is another than the
// room "1". Here they are one, so that a name that is a number stands for both.
func appendNames(dst []byte, names []string) []byte {
	numbers := 0
	for _, name := range names {
		if isNumber(name) {
			numbers++
		}
	}
	dst = msgpack.AppendArray(dst, len(names)+numbers)
	for _, name := range names {
		dst = msgpack.AppendString(dst, name)
		if isNumber(name) {
			dst = msgpack.Append(dst, json.RawMessage(name), nil, 0)
		}
	}
	return dst
}

// isNumber reports whether JavaScript writes a whole number so.
func isNumber(name string) bool {
	n, err := strconv.ParseInt(name, 10, 64)
	const exact = 1 << 53
	return err == nil && -exact < n && n < exact && strconv.FormatInt(n, 10) == name
}

// A jsonNames is a list of names as JSON, as appendNames writes it as MessagePack.
type jsonNames []string

// MarshalJSON implements json.Marshaler.
func (names jsonNames) MarshalJSON() ([]byte, error) {
	dst := []byte{'['}
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rawjson.AppendString(dst, name)
		if isNumber(name) {
			dst = append(append(dst, ','), name...)
		}
	}
	return append(dst, ']'), nil
}
