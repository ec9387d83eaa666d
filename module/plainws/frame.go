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

// A Format says what the frames of a connection mean.
type Format string

const (
	// JSON is text frames, each an event or an answer to one:
	//
	//	{"event":"greet","args":["hello"],"id":7}
	//	{"ack":7,"args":["hello yourself"]}
	//
	// The id is there where an answer is awaited. Binary data is
	// {"$binary":"<base64>"}, at any depth of an argument.
	JSON Format = "json"

	// Raw is frames that are each the event "message" with one argument, a
	// string or binary data. Only events of that name are sent, and no answers.
	Raw Format = "raw"
)

// rawEvent is the name of every event of the raw format.
const rawEvent = "message"

// A frame is what a client sent: an event, which has a name, or an answer.
type frame struct {
	event string
	args  []realtime.Arg
	id    string // of an event: the digits to answer by, "" where no answer is awaited
	ack   uint64 // of an answer
}

func (f frame) isEvent() bool { return f.event != "" }

// errJSON says that a frame is not JSON at all: what sends it does not speak
// the protocol.
var errJSON = errors.New("frame is not valid JSON")

// errBinary says that a frame is binary where only text means anything.
var errBinary = errors.New("frame is binary")

// parseJSON reads a text frame of the json format. An error is errJSON or a
// *realtime.LimitError; any other says what would be right.
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

// arguments are those of a frame. They are bounded before there is a list of
// them.
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
	a.list, err = rawjson.SplitWithin(data, a.limits.Arguments, a.limits.Depth)
	switch err {
	case rawjson.ErrElements:
		return &realtime.LimitError{Name: "arguments", Max: int64(a.limits.Arguments)}
	case rawjson.ErrDepth:
		return &realtime.LimitError{Name: "depth", Max: int64(a.limits.Depth)}
	}
	return err
}

// parseRaw reads a frame of the raw format.
func parseRaw(opcode int, payload []byte) frame {
	if opcode == wsconn.Binary {
		return frame{event: rawEvent, args: []realtime.Arg{realtime.Bytes(payload)}}
	}
	return frame{event: rawEvent, args: []realtime.Arg{realtime.String(string(payload))}}
}

// encode returns a message as a WebSocket frame; nil where the format has none
// for it.
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
