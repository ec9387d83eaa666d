package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// A message between nodes is a header, which is a JSON object in one line, a line feed, and a body
// that only its kind gives a meaning. The name of the sender is in the cluster.Envelope.
type header struct {
	Version     int    `json:"v"`
	Kind        string `json:"kind"`
	Incarnation string `json:"incarnation"` // tells a node from what had the same name before

	// Sequence numbers the messages of an incarnation in a topic, from 1. A number that is missing
	// is a message that is missing. Heartbeats have numbers of their own.
	Sequence uint64 `json:"seq"`

	// Request is the id of a request, in the request itself and in its answers. Timeout is how many
	// milliseconds the sender waits for the answer.
	Request string `json:"request,omitempty"`
	Timeout int64  `json:"timeout,omitempty"`
	// Part numbers the messages that a large answer is cut into, from 0, and More says that another
	// one follows. Error says, in place of a body, why there is no answer.
	Part  int    `json:"part,omitempty"`
	More  bool   `json:"more,omitempty"`
	Error string `json:"error,omitempty"`
}

// The kinds of the bus itself.
const (
	kindHeartbeat    = "heartbeat"
	kindLeave        = "leave"         // the sender is about to end; it has the body of a heartbeat
	kindDeclaredLost = "declared-lost" // the sender has declared the incarnation lost that the body names
	kindLost         = "lost"          // the message of this number was never sent
	kindAnswer       = "answer"
	kindNumbers      = "numbers" // a request: see Bus.Numbers
)

const (
	// maxVersion is the newest version of the format that this code speaks, and minVersion the
	// oldest. What keeps membership going is always sent in minVersion.
	maxVersion = 1
	minVersion = 1

	// maxHeader is how many bytes a header may have, and maxID how many an incarnation, a kind or a
	// request's id may have.
	maxHeader = 4096
	maxID     = 64
)

var (
	errNoHeader = errors.New("it has no header")
	errNewer    = errors.New("it has a newer version")
)

// append appends the header and the line feed. The strings must be ASCII without control
// characters, as the ids of nodes are, but for Error.
func (h *header) append(to []byte) []byte {
	to = strconv.AppendInt(append(to, `{"v":`...), int64(h.Version), 10)
	to = strconv.AppendQuote(append(to, `,"kind":`...), h.Kind)
	to = strconv.AppendQuote(append(to, `,"incarnation":`...), h.Incarnation)
	to = strconv.AppendUint(append(to, `,"seq":`...), h.Sequence, 10)
	if h.Request != "" {
		to = strconv.AppendQuote(append(to, `,"request":`...), h.Request)
	}
	if h.Timeout != 0 {
		to = strconv.AppendInt(append(to, `,"timeout":`...), h.Timeout, 10)
	}
	if h.Part != 0 {
		to = strconv.AppendInt(append(to, `,"part":`...), int64(h.Part), 10)
	}
	if h.More {
		to = append(to, `,"more":true`...)
	}
	if h.Error != "" {
		text, _ := json.Marshal(h.Error) // cannot fail
		to = append(append(to, `,"error":`...), text...)
	}
	return append(to, '}', '\n')
}

// parseHeader returns a message's header and its body, which shares the payload's memory. It
// returns errNewer for versions after newest: nothing else of such a message is known.
func parseHeader(payload []byte, newest int) (h header, body []byte, err error) {
	end := bytes.IndexByte(payload[:min(len(payload), maxHeader)], '\n')
	if end < 0 {
		return header{}, nil, errNoHeader
	}
	err = json.Unmarshal(payload[:end], &h)
	switch {
	case h.Version > newest: // other members may have other types in it
		return header{}, nil, errNewer
	case err != nil:
		return header{}, nil, fmt.Errorf("reading header: %w", err)
	case h.Version < minVersion, h.Kind == "", h.Sequence == 0, h.Part < 0, h.Timeout < 0,
		len(h.Kind) > maxID, len(h.Incarnation) > maxID, len(h.Request) > maxID:
		return header{}, nil, errors.New("its header is not complete")
	}
	return h, payload[end+1:], nil
}
