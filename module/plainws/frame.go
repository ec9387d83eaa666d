package plainws

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A Format is what the frames of a connection mean.
type Format string

const (
	// JSON has text frames. Each is an event, or the answer to one:
	//
	//	{"event":"greet","args":["hello"],"id":7}
	//	{"ack":7,"args":["hello yourself"]}
	//
	// An event has an id if it awaits an answer. Binary data, at any depth of an argument, is
	// {"$binary":"<base64>"}.
	JSON Format = "json"

	// Raw has frames that are each the event "message" with one argument: a string, or binary
	// data. Events of other names, and answers, are not sent.
	Raw Format = "raw"
)

// rawEvent is the name of every event of the raw format.
const rawEvent = "message"

// A frame is an event, which has a name, or an answer.
type frame struct {
	event string
	args  []realtime.Arg
	id    string // of an event: digits, or "" if it awaits no answer
	ack   uint64 // the id of the event that is answered
}

func (f frame) isEvent() bool { return f.event != "" }

// errJSON says that a frame is not JSON. Its sender does not speak the protocol.
var errJSON = errors.New("frame is not valid JSON")

// errBinary says that a frame is binary, and the format has only text.
var errBinary = errors.New("frame is binary")

// parseJSON reads a frame of the JSON format. The error is errJSON, a *realtime.LimitError, or one
// that says what would be right.
func parseJSON(text []byte, l *realtime.Limits) (frame, error) {
	if !rawjson.Valid(text) {
		return frame{}, errJSON
	}
	var f struct {
		Event *string   `json:"event"`
		Args  arguments `json:"args"`
		ID    *uint64   `json:"id"`
		Ack   *uint64   `json:"ack"`
	}
	f.Args.limits = l
	if err := json.Unmarshal(text, &f); err != nil {
		if exceeded, ok := errors.AsType[*realtime.LimitError](err); ok {
			return frame{}, exceeded
		}
		return frame{}, errors.New(`a frame is {"event":"name","args":[…],"id":7} or {"ack":7,"args":[…]}, with whole numbers`)
	}
	var parsed frame
	switch {
	case f.Event != nil && f.Ack != nil || f.Event == nil && f.Ack == nil:
		return frame{}, errors.New(`a frame has either "event" or "ack"`)
	case f.Ack != nil:
		parsed.ack = *f.Ack
	case *f.Event == "" || realtime.Reserved(*f.Event):
		return frame{}, fmt.Errorf("the event name %q is reserved", *f.Event)
	case len(*f.Event) > l.EventName:
		return frame{}, &realtime.LimitError{Name: "event_name", Max: int64(l.EventName)}
	default:
		parsed.event = *f.Event
		if f.ID != nil {
			parsed.id = strconv.FormatUint(*f.ID, 10)
		}
	}
	args, err := realtime.ParseInlineArgs(f.Args.list)
	if errors.Is(err, realtime.ErrTooManyAttachments) || len(realtime.CollectAttachments(args)) > l.Attachments {
		return frame{}, &realtime.LimitError{Name: "attachments", Max: int64(l.Attachments)}
	}
	if err != nil {
		return frame{}, err
	}
	parsed.args = args
	return parsed, nil
}

// arguments are the arguments of a frame. Limits apply while they are read, so that many arguments
// take no memory.
type arguments struct {
	list   []json.RawMessage
	limits *realtime.Limits
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *arguments) UnmarshalJSON(data []byte) (err error) {
	if string(data) == "null" {
		a.list = nil
		return nil
	}
	a.list, err = rawjson.Split(data, a.limits.Arguments, a.limits.Depth)
	switch {
	case errors.Is(err, rawjson.ErrElements):
		return &realtime.LimitError{Name: "arguments", Max: int64(a.limits.Arguments)}
	case errors.Is(err, rawjson.ErrDepth):
		return &realtime.LimitError{Name: "depth", Max: int64(a.limits.Depth)}
	}
	return err
}

// parseRaw reads a frame of the Raw format.
func parseRaw(opcode int, payload []byte) frame {
	if opcode == wsconn.Binary {
		return frame{event: rawEvent, args: []realtime.Arg{realtime.Bytes(payload)}}
	}
	return frame{event: rawEvent, args: []realtime.Arg{realtime.String(string(payload))}}
}

// encode returns a message as a WebSocket frame. It returns nil if the format has no frame for the
// message.
func (f Format) encode(m *realtime.Message) []byte {
	if f == Raw {
		return encodeRaw(m)
	}
	return encodeEvent(m)
}

func encodeEvent(m *realtime.Message) []byte {
	text := append([]byte(`{"event":`), realtime.String(m.Event).JSON...)
	text = appendArgs(text, m.Args)
	if m.Ack != 0 {
		text = strconv.AppendUint(append(text, `,"id":`...), m.Ack, 10)
	}
	return wsconn.Frame(wsconn.Text, append(text, '}'))
}

func encodeAck(id string, args []realtime.Arg) []byte {
	text := append([]byte(`{"ack":`), id...)
	return wsconn.Frame(wsconn.Text, append(appendArgs(text, args), '}'))
}

func encodeError(code, message string) []byte {
	arg, err := realtime.JSON(realtime.Error{Code: code, Message: message})
	if err != nil {
		panic(err) // two strings
	}
	return wsconn.Frame(wsconn.Text, append(appendArgs([]byte(`{"event":"error"`), []realtime.Arg{arg}), '}'))
}

func appendArgs(text []byte, args []realtime.Arg) []byte {
	return realtime.AppendInlineArgs(append(text, `,"args":`...), args)
}

func encodeRaw(m *realtime.Message) []byte {
	if m.Event != rawEvent || len(m.Args) == 0 {
		return nil
	}
	if data, ok := m.Args[0].AsBytes(); ok {
		return wsconn.Frame(wsconn.Binary, data)
	}
	if text, ok := rawjson.Unquote(m.Args[0].JSON); ok {
		return wsconn.Frame(wsconn.Text, []byte(text))
	}
	return wsconn.Frame(wsconn.Text, m.Args[0].AppendInline(nil))
}
