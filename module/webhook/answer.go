package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxAnswer is the size of the largest answer, in bytes.
const maxAnswer = 4 << 20

// An answer is what the backend says to a request. Every field is optional.
type answer struct {
	User       userID                     `json:"user"`
	Data       map[string]json.RawMessage `json:"data"`
	Join       []string                   `json:"join"`
	Leave      []string                   `json:"leave"`
	Emit       []*emission                `json:"emit"`
	Ack        []json.RawMessage          `json:"ack"`
	ExpiresAt  *time.Time                 `json:"expires_at"`
	Disconnect *disconnection             `json:"disconnect"`

	ack []realtime.Arg
}

// A disconnection makes the client leave, or, with Close, ends its connection.
type disconnection struct {
	Reason string `json:"reason"` // for the log
	Close  bool   `json:"close"`
}

// An emission is an event for rooms and users; without any, for the sender.
type emission struct {
	To        []string          `json:"to"`
	Users     []string          `json:"users"`
	Except    []string          `json:"except"`
	Namespace string            `json:"namespace"`
	Event     string            `json:"event"`
	Args      []json.RawMessage `json:"args"`
	Volatile  bool              `json:"volatile"`

	args []realtime.Arg
}

// A userID is a string. Backends whose users have numbers may say those.
type userID string

// UnmarshalJSON implements json.Unmarshaler.
func (u *userID) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*u = userID(text)
		return nil
	}
	var number json.Number
	if err := json.Unmarshal(data, &number); err != nil {
		return errors.New("user must be a string or a number")
	}
	*u = userID(number)
	return nil
}

// parseAnswer reads the body of a good answer, which may be empty. It is either
// right as a whole, or nothing of it is done.
func parseAnswer(body []byte) (*answer, error) {
	a := new(answer)
	if len(bytes.TrimSpace(body)) == 0 {
		return a, nil
	}
	// A WebSocket that gets other text ends, and an answer may be for many.
	if !utf8.Valid(body) {
		return nil, errors.New("reading answer: it is not in UTF-8")
	}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	var err error
	if a.ack, err = realtime.ParsePlainArgs(a.Ack); err != nil {
		return nil, fmt.Errorf("reading answer: ack: %w", err)
	}
	for _, room := range a.Join {
		if room == "" {
			return nil, errors.New("reading answer: join: a room has a name")
		}
	}
	for i, e := range a.Emit {
		if e == nil {
			return nil, fmt.Errorf("reading answer: emit[%d] is null", i)
		}
		if e.Event == "" || realtime.Reserved(e.Event) {
			return nil, fmt.Errorf("reading answer: emit[%d]: %q cannot be an event", i, e.Event)
		}
		if e.args, err = realtime.ParsePlainArgs(e.Args); err != nil {
			return nil, fmt.Errorf("reading answer: emit[%d]: %w", i, err)
		}
	}
	return a, nil
}

// emit sends what the answer to a request about a socket says.
func (a *answer) emit(ctx context.Context, s *realtime.Socket) error {
	var failed []error
	for _, e := range a.Emit {
		if err := e.send(ctx, s); err != nil && !errors.Is(err, realtime.ErrDisconnected) {
			failed = append(failed, fmt.Errorf("emitting %q: %w", e.Event, err))
		}
	}
	return errors.Join(failed...)
}

func (e *emission) send(ctx context.Context, s *realtime.Socket) error {
	n := s.Namespace()
	elsewhere := e.Namespace != "" && e.Namespace != n.Name()
	if len(e.To) == 0 && len(e.Users) == 0 {
		if elsewhere {
			return fmt.Errorf("without to, an event goes to the sender, who is in %s and not in %s", n.Name(), e.Namespace)
		}
		return s.Emit(ctx, e.Event, e.args...)
	}
	if elsewhere {
		if !s.Endpoint().Admits(e.Namespace) {
			return fmt.Errorf("the endpoint has no namespace %s", e.Namespace)
		}
		n = n.Hub().Namespace(e.Namespace)
	}
	b := n.To(e.To...).ToUsers(e.Users...).Except(e.Except...)
	if e.Volatile {
		b = b.Volatile()
	}
	return b.Emit(ctx, e.Event, e.args...)
}

// A problem is the body of an answer that refuses.
type problem struct {
	Error struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
}

// parseProblem reads as much of a refusal as it says.
func parseProblem(body []byte) problem {
	var p problem
	if !utf8.Valid(body) || json.Unmarshal(body, &p) != nil {
		return problem{}
	}
	return p
}

// codeOf returns the code for a refusal that says none.
func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "unauthorized"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusConflict:
		return "conflict"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	}
	return "bad_request"
}
