package publish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// How long, and for how many sockets, answers of clients are awaited.
const (
	MaxWait        = 30 * time.Second
	MaxAckSockets  = 1000
	maxResponses   = 16 << 20 // bytes
	defaultSpace   = "/"
	unknownSpace   = "unknown_namespace"
	reservedName   = "reserved_name"
	tooManySockets = "too_many_sockets"
)

// An emission is an event about to be sent.
type emission struct {
	namespace string
	to        []string // nil: not written
	users     []string
	everyone  bool // and then neither to nor users is written
	except    []string
	event     string
	args      []realtime.Arg
	volatile  bool
}

// parseEmission reads the body of an emit, which may be as much as clients may
// send by the limits.
func parseEmission(where string, data []byte, limits realtime.Limits) (*emission, *Problem) {
	e := &emission{namespace: defaultSpace}
	var args []json.RawMessage
	problem := members{
		"namespace": &e.namespace,
		"to":        &e.to,
		"users":     &e.users,
		"everyone":  &e.everyone,
		"except":    &e.except,
		"event":     &e.event,
		"args":      &args,
		"volatile":  &e.volatile,
	}.read(where, data)
	if problem != nil {
		return nil, problem
	}
	for field, names := range map[string][]string{"to": e.to, "users": e.users, "except": e.except} {
		if problem := checkNames(within(where, field), names); problem != nil {
			return nil, problem
		}
	}
	if problem := checkName(within(where, "event"), e.event); problem != nil {
		return nil, problem
	}
	if realtime.Reserved(e.event) {
		return nil, problemf(http.StatusBadRequest, reservedName, "the event name %q is Socket.IO's own", e.event)
	}
	var err error
	if e.args, err = realtime.ParseInlineArgs(args); err != nil {
		return nil, badField("%s: %v", within(where, "args"), err)
	}
	switch exceeded, _ := errors.AsType[*realtime.LimitError](limits.Check(e.event, e.args)); {
	case exceeded == nil:
	case exceeded.Name == "event_name":
		return nil, badField("%s has more than %d bytes, which the endpoint's limits allow", within(where, "event"), exceeded.Max)
	default:
		return nil, badField("%s exceeds the endpoint's limits: %s is %d", within(where, "args"), exceeded.Name, exceeded.Max)
	}
	switch listed := e.to != nil || e.users != nil; {
	case listed && e.everyone:
		return nil, badField("%s cannot be true beside to or users; write one of them", within(where, "everyone"))
	case !listed && !e.everyone:
		return nil, badField("%s says nobody to send the event to; write to or users, or \"everyone\": true for all sockets of the namespace", describe(where))
	}
	return e, nil
}

// nobody reports whether the event is for nobody, as lists are that are written
// and empty: so they were computed.
func (e *emission) nobody() bool { return !e.everyone && len(e.to)+len(e.users) == 0 }

// emitted is the answer to an emit.
type emitted struct {
	ID string `json:"id"`
}

// answered is the answer to an emit that awaits those of clients.
type answered struct {
	Responses []response `json:"responses"`
	Missing   []string   `json:"missing"`
}

type response struct {
	Socket string          `json:"socket"`
	Args   json.RawMessage `json:"args"`
}

func (h *Handler) emit(ctx context.Context, r *request) (int, any, *Problem) {
	text, awaits := r.query["ack"]
	var wait time.Duration
	if awaits {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait <= 0 || wait > MaxWait {
			return 0, nil, problemf(http.StatusBadRequest, "bad_parameter", "ack takes a duration such as 3s, of at most %v", MaxWait)
		}
	}
	e, problem := parseEmission("", r.body, h.endpoint.Limits())
	if problem != nil {
		return 0, nil, problem
	}
	if awaits {
		answer, problem := h.request(ctx, e, wait)
		return http.StatusOK, answer, problem
	}
	answer, problem := h.broadcast(ctx, e)
	return http.StatusAccepted, answer, problem
}

// broadcast sends an event and awaits nobody.
func (h *Handler) broadcast(ctx context.Context, e *emission) (any, *Problem) {
	b, problem := h.prepare(e)
	if problem != nil {
		return nil, problem
	}
	answer := emitted{randid.New()}
	if e.nobody() {
		return answer, nil
	}
	// A caller that does not wait for the answer has still asked for all of it.
	err := b.Emit(context.WithoutCancel(ctx), e.event, e.args...)
	switch {
	case errors.Is(err, realtime.ErrSealed):
		return nil, errClosing
	case errors.Is(err, realtime.ErrLocalOnly): // the hub has logged it
		return nil, problemf(http.StatusServiceUnavailable, "broker_unavailable", "clients of this node have got the event, and those of the other nodes will not: too much waits for the broker")
	case err != nil:
		return nil, badField("%v", err)
	}
	return answer, nil
}

// request sends an event and waits for what the clients of this node answer.
func (h *Handler) request(ctx context.Context, e *emission, wait time.Duration) (any, *Problem) {
	b, problem := h.prepare(e)
	if problem != nil {
		return nil, problem
	}
	answer := answered{[]response{}, []string{}}
	if e.nobody() {
		return answer, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answers, missing, err := b.Request(ctx, MaxAckSockets, e.event, e.args...)
	switch {
	case errors.Is(err, realtime.ErrSealed):
		return nil, errClosing
	case errors.Is(err, realtime.ErrTooManySockets):
		return nil, problemf(http.StatusBadRequest, tooManySockets, "answers of at most %d sockets can be awaited; leave ack out, or name fewer", MaxAckSockets)
	case err != nil:
		return nil, badField("%v", err)
	}
	size := 0
	for _, a := range answers {
		// A client may name one attachment many times; here it is there each time.
		args := realtime.AppendInlineArgs(nil, a.Args)
		if size += len(args); size > maxResponses {
			size -= len(args)
			missing = append(missing, a.Socket)
			continue
		}
		answer.Responses = append(answer.Responses, response{a.Socket.ID(), args})
	}
	for _, s := range missing {
		answer.Missing = append(answer.Missing, s.ID())
	}
	return answer, nil
}

func (h *Handler) prepare(e *emission) (b realtime.Broadcast, problem *Problem) {
	if problem := h.checkNamespace(e.namespace); problem != nil {
		return b, problem
	}
	b = h.endpoint.Hub().Lookup(e.namespace).To(e.to...).ToUsers(e.users...).Except(e.except...)
	if e.volatile {
		b = b.Volatile()
	}
	return b, nil
}

// checkNamespace reports a namespace that the endpoint does not serve.
func (h *Handler) checkNamespace(name string) *Problem {
	if problem := checkName("namespace", name); problem != nil {
		return problem
	}
	if !h.endpoint.Allows(name) {
		return errUnserved(name)
	}
	return nil
}

func errUnserved(namespace string) *Problem {
	return problemf(http.StatusBadRequest, unknownSpace, "the endpoint does not serve the namespace %s", quote(namespace))
}
