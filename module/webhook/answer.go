package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/emission"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxAnswer is the size of the largest answer, in bytes.
const maxAnswer = 4 << 20

// An answer is what the backend wants done. Every field is optional.
type answer struct {
	User       string
	Data       map[string]json.RawMessage
	Join       []string
	Leave      []string
	Emit       []*emitted
	Ack        []realtime.Arg
	ExpiresAt  time.Time // zero: never
	Disconnect *disconnection
	Refusal    *problem // in a reply whose status says that all is well

	reader // has noted what is not done, or not as it is written
}

// A disconnection makes the client leave, or, with Close, ends its connection.
type disconnection struct {
	Reason string // for the log
	Close  bool
}

// An emitted event is one that an answer sends. Without rooms, users and everyone it is
// for the sender.
type emitted struct{ emission.Emission }

// parseAnswer reads the body of a good reply to a request of some type. The body may be
// empty. If anything in it is wrong, nothing is done: the error is a *wrongAnswer.
func parseAnswer(kind string, body []byte) (*answer, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff"))) // Some editors and libraries put it in front.
	if len(body) == 0 || isNull(body) && string(body) == "null" {
		return new(answer), nil
	}
	// Other text would end the WebSocket of every client that gets it.
	if !utf8.Valid(body) {
		return nil, wrong("must be in UTF-8")
	}
	if !rawjson.Valid(body) {
		return nil, wrong("must be JSON, or empty")
	}
	return parseValid(kind, body)
}

// parseValid is parseAnswer for a body that is valid JSON, in UTF-8, and has no white space
// around it.
func parseValid(kind string, body []byte) (*answer, error) {
	a := new(answer)
	known := answerMembers
	if kind == typeConnect {
		known = connectAnswerMembers
	}
	if err := a.members("", body, known, a); err != nil {
		return nil, err
	}
	return a, nil
}

// The members of an answer to a connect, and to any other request.
var (
	connectAnswerMembers = []string{"error", "data", "join", "emit", "disconnect", "user", "expires_at"}
	answerMembers        = []string{"error", "data", "join", "emit", "disconnect", "leave", "ack"}
)

// take implements object.
func (a *answer) take(r *reader, name string, value json.RawMessage) (err *wrongAnswer) {
	switch name {
	case "error":
		if a.Refusal = readProblem(value); a.Refusal != nil {
			r.note("error comes with a status of 200 to 299, and not of 400 to 499")
		}
	case "data":
		a.Data, err = keptObjectOf(value)
	case "join":
		a.Join, err = namesOf(value)
	case "leave":
		a.Leave, err = namesOf(value)
	case "emit":
		a.Emit, err = emissionsOf(r, value)
	case "ack":
		a.Ack, err = argsOf(value)
	case "disconnect":
		if said, err := flagOf(value); err == nil { // as typed programs write it
			if said {
				a.Disconnect = new(disconnection)
			}
			return nil
		}
		if checkObject(value) != nil {
			return wrong("must be an object, such as {} or {\"reason\":\"…\"}")
		}
		a.Disconnect = new(disconnection)
		err = r.members("disconnect.", value, disconnectionMembers, a.Disconnect)
	case "user":
		a.User, err = nameOf(value)
	case "expires_at":
		var zoned bool
		if a.ExpiresAt, zoned, err = parseTime(value); !zoned {
			r.note("expires_at has no zone, and counts as UTC")
		}
	}
	return err
}

var disconnectionMembers = []string{"reason", "close"}

// take implements object.
func (d *disconnection) take(_ *reader, name string, value json.RawMessage) (err *wrongAnswer) {
	switch name {
	case "reason":
		d.Reason, err = textOf(value)
	case "close":
		d.Close, err = flagOf(value)
	}
	return err
}

// argsOf reads arguments.
func argsOf(value json.RawMessage) ([]realtime.Arg, *wrongAnswer) {
	if rawjson.Object(value) {
		return nil, wrong("must be an array of arguments; for one that is an object, write [{…}]")
	}
	list, err := listOf(value, maxNames)
	if err != nil {
		return nil, err
	}
	args := make([]realtime.Arg, len(list))
	parts := 0
	for i, element := range list {
		arg, err := realtime.ParseInline(element)
		if err != nil {
			return nil, wrong("is no argument: %v", err).at(i)
		}
		if parts += len(arg.Binary); parts > realtime.MaxAttachments {
			return nil, wrong("has more than %d binary parts", realtime.MaxAttachments)
		}
		args[i] = arg
	}
	return args, nil
}

// emissionsOf reads a list of emissions.
func emissionsOf(r *reader, value json.RawMessage) ([]*emitted, *wrongAnswer) {
	list, err := listOf(value, maxEmits)
	if err != nil {
		return nil, err
	}
	all := make([]*emitted, len(list))
	for i, element := range list {
		all[i] = new(emitted)
		if err := all[i].read(r, element); err != nil {
			return nil, err.at(i)
		}
	}
	return all, nil
}

var emissionMembers = []string{"event", "to", "users", "except", "everyone", "namespace", "args", "volatile"}

// read reads one element of emit.
func (e *emitted) read(r *reader, data json.RawMessage) *wrongAnswer {
	err := r.members("emit[].", data, emissionMembers, e)
	switch {
	case err != nil:
		return err
	case e.Event == "":
		return wrong("must be a string").within("event")
	case realtime.Reserved(e.Event):
		return wrong("must be another name than %q, which is Socket.IO's own", e.Event).within("event")
	case e.Everyone && e.Listed():
		return wrong("cannot be true beside to or users; write one of them").within("everyone")
	}
	if len(e.Except) > 0 && !e.Listed() && !e.Everyone {
		r.note("emit[].except is without to, users and everyone, and the event is for the sender")
	}
	return nil
}

// take implements object.
func (e *emitted) take(_ *reader, name string, value json.RawMessage) (err *wrongAnswer) {
	switch name {
	case "event":
		e.Event, err = nameOf(value)
	case "to":
		e.To, err = namesOf(value)
	case "users":
		e.Users, err = namesOf(value)
	case "except":
		e.Except, err = namesOf(value)
	case "everyone":
		e.Everyone, err = flagOf(value)
	case "namespace":
		e.Namespace, err = nameOf(value)
	case "args":
		e.Args, err = argsOf(value)
	case "volatile":
		e.Volatile, err = flagOf(value)
	}
	return err
}

// emit sends the events of an answer to a request about a socket.
func (a *answer) emit(ctx context.Context, s *realtime.Socket) error {
	var failed []error
	for _, e := range a.Emit {
		if err := e.send(ctx, s); err != nil && !errors.Is(err, realtime.ErrDisconnected) {
			failed = append(failed, fmt.Errorf("emitting %q: %w", e.Event, err))
		}
	}
	return errors.Join(failed...)
}

func (e *emitted) send(ctx context.Context, s *realtime.Socket) error {
	n := s.Namespace()
	elsewhere := e.Namespace != "" && e.Namespace != n.Name()
	toSender := !e.Listed() && !e.Everyone
	switch {
	case toSender && elsewhere:
		return fmt.Errorf("without to, an event goes to the sender, who is in %s and not in %s",
			n.Name(), e.Namespace)
	case toSender && !e.Volatile:
		return s.Emit(ctx, e.Event, e.Args...)
	case toSender:
		return n.To(s.ID()).Local().Volatile().Emit(ctx, e.Event, e.Args...)
	case elsewhere && !s.Endpoint().Allows(e.Namespace):
		return fmt.Errorf("the endpoint has no namespace %s", e.Namespace)
	case e.Nobody():
		return nil
	}
	if elsewhere {
		n = n.Hub().Lookup(e.Namespace)
	}
	return e.Broadcast(n).Emit(ctx, e.Event, e.Args...)
}

// A problem is why the backend refuses.
type problem struct {
	Code    string
	Message string
	Data    json.RawMessage
}

// connectError returns the error for a client that is refused.
func (p *problem) connectError(status int) error {
	refusal := &realtime.ConnectError{Message: cmp.Or(p.Message, "not authorized"), Data: p.Data, Status: status}
	if len(refusal.Data) == 0 && p.Code != "" {
		refusal.Data, _ = json.Marshal(map[string]string{"code": p.Code})
	}
	return refusal
}

// eventError returns the error for a client whose event is refused. Code is used if the
// backend says none.
func (p *problem) eventError(code string) error {
	return &realtime.Error{Code: cmp.Or(p.Code, code), Message: cmp.Or(p.Message, "the backend refused the event")}
}

// badAnswer is the code of errors that the backend has caused.
const badAnswer = "backend_bad_answer"

// connectError returns the error for a client that connects.
func (w *wrongAnswer) connectError() error {
	data, _ := json.Marshal(map[string]string{"code": badAnswer})
	return &realtime.ConnectError{Message: w.told(), Data: data, Status: http.StatusForbidden}
}

// eventError returns the error for a client that sent an event.
func (w *wrongAnswer) eventError() error { return &realtime.Error{Code: badAnswer, Message: w.told()} }

func (w *wrongAnswer) told() string { return "the backend's answer is wrong: " + w.Error() }

// parseProblem reads the body of a refusal, as far as it can be read.
func parseProblem(body []byte) problem {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if !utf8.Valid(body) || !rawjson.Valid(body) {
		return problem{}
	}
	object, err := objectOf(body)
	if err != nil || isNull(object["error"]) {
		return problem{}
	}
	if p := readProblem(object["error"]); p != nil {
		return *p
	}
	return problem{}
}

// readProblem reads the member error, which may be a text. It returns nil if the member
// says that there is no error.
func readProblem(data json.RawMessage) *problem {
	p := new(problem)
	switch string(data) {
	case `false`, `0`, `""`, `null`:
		return nil
	}
	if message, ok := rawjson.Unquote(data); ok {
		p.Message = message
		return p
	}
	object, err := objectOf(data)
	if err == nil && len(object) == 0 {
		return nil
	}
	p.Code, _ = rawjson.Text(object["code"])
	p.Message, _ = rawjson.Text(object["message"])
	if more := object["data"]; !isNull(more) {
		p.Data = more
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
