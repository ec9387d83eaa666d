package publish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/emission"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// How long the acks of clients are awaited, and of how many sockets.
const (
	MaxWait        = 30 * time.Second
	MaxAckSockets  = 1000
	maxResponses   = 16 << 20 // bytes
	defaultSpace   = "/"
	unknownSpace   = "unknown_namespace"
	reservedName   = "reserved_name"
	tooManySockets = "too_many_sockets"
)

// parseEmission reads the body of an emit. The limits are those of events that clients
// send.
func parseEmission(where string, data []byte, limits realtime.Limits) (*emission.Emission, *Problem) {
	e := &emission.Emission{Namespace: defaultSpace}
	var args []json.RawMessage
	problem := members{
		"namespace": &e.Namespace,
		"to":        &e.To,
		"users":     &e.Users,
		"everyone":  &e.Everyone,
		"except":    &e.Except,
		"event":     &e.Event,
		"args":      &args,
		"volatile":  &e.Volatile,
	}.read(where, data)
	if problem != nil {
		return nil, problem
	}
	for field, names := range map[string][]string{"to": e.To, "users": e.Users, "except": e.Except} {
		if problem := checkNames(within(where, field), names); problem != nil {
			return nil, problem
		}
	}
	if problem := checkName(within(where, "event"), e.Event); problem != nil {
		return nil, problem
	}
	if realtime.Reserved(e.Event) {
		return nil, problemf(http.StatusBadRequest, reservedName, "the event name %q is Socket.IO's own", e.Event)
	}
	var err error
	if e.Args, err = realtime.ParseInlineArgs(args); err != nil {
		return nil, badField("%s: %v", within(where, "args"), err)
	}
	switch exceeded, _ := errors.AsType[*realtime.LimitError](limits.Check(e.Event, e.Args)); {
	case exceeded == nil:
	case exceeded.Name == "event_name":
		return nil, badField("%s has more than %d bytes, which the endpoint's limits allow", within(where, "event"), exceeded.Max)
	default:
		return nil, badField("%s exceeds the endpoint's limits: %s is %d", within(where, "args"), exceeded.Name, exceeded.Max)
	}
	switch listed := e.Listed(); {
	case listed && e.Everyone:
		return nil, badField("%s cannot be true beside to or users; write one of them", within(where, "everyone"))
	case !listed && !e.Everyone:
		return nil, badField("%s says nobody to send the event to; write to or users, or \"everyone\": true for all sockets of the namespace", describe(where))
	}
	return e, nil
}

// emitted is the answer to an emit.
type emitted struct {
	ID           string `json:"id"`
	LocalSockets int    `json:"local_sockets"` // of this node that get the event, without those whose clients are away
	Nodes        int    `json:"nodes"`         // other ones that are told
}

// answered is the answer to an emit that awaits acks.
type answered struct {
	Responses []response `json:"responses"`
	Missing   []string   `json:"missing"`

	MissingNodes []string `json:"missing_nodes,omitempty"`
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
		answer, problem := h.request(ctx, r, e, wait)
		return http.StatusOK, answer, problem
	}
	answer, problem := h.broadcast(ctx, r, e)
	return http.StatusAccepted, answer, problem
}

// broadcast sends an event without awaiting acks.
func (h *Handler) broadcast(ctx context.Context, r *request, e *emission.Emission) (any, *Problem) {
	b, problem := h.prepare(r, e)
	if problem != nil {
		return nil, problem
	}
	answer := emitted{ID: randid.New()}
	if e.Nobody() {
		return answer, nil
	}
	// The event is for all recipients, even if the caller hangs up.
	sent, err := b.Send(context.WithoutCancel(ctx), e.Event, e.Args...)
	switch {
	case errors.Is(err, realtime.ErrSealed):
		return nil, errClosing
	case errors.Is(err, realtime.ErrLocalOnly): // the hub has logged it
		return nil, problemf(http.StatusServiceUnavailable, "broker_unavailable", "clients of this node have got the event, and those of the other nodes will not: too much waits for the broker")
	case err != nil:
		return nil, badField("%v", err)
	}
	answer.LocalSockets, answer.Nodes = sent.Sockets, sent.Nodes
	return answer, nil
}

// request sends an event and waits for the acks of its clients.
func (h *Handler) request(ctx context.Context, r *request, e *emission.Emission, wait time.Duration) (any, *Problem) {
	b, problem := h.prepare(r, e)
	if problem != nil {
		return nil, problem
	}
	answer := answered{Responses: []response{}, Missing: []string{}}
	if e.Nobody() {
		return answer, nil
	}
	got, err := b.Request(ctx, wait, MaxAckSockets, e.Event, e.Args...)
	switch {
	case errors.Is(err, realtime.ErrSealed):
		return nil, errClosing
	case errors.Is(err, realtime.ErrTooLarge):
		return nil, errTooLargeForNodes
	case errors.Is(err, realtime.ErrTooManySockets):
		return nil, problemf(http.StatusBadRequest, tooManySockets, "answers of at most %d sockets can be awaited; leave ack out, or name fewer", MaxAckSockets)
	case err != nil:
		return nil, badField("%v", err)
	}
	size := 0
	answer.Missing, answer.MissingNodes = append(answer.Missing, got.Missing...), got.MissingNodes
	for _, a := range got.Answers {
		// A client may refer to one attachment many times. Each becomes a copy here.
		args := realtime.AppendInlineArgs(nil, a.Args)
		if size += len(args); size > maxResponses {
			size -= len(args)
			answer.Missing = append(answer.Missing, a.Socket)
			continue
		}
		answer.Responses = append(answer.Responses, response{a.Socket, args})
	}
	return answer, nil
}

func (h *Handler) prepare(r *request, e *emission.Emission) (b realtime.Broadcast, problem *Problem) {
	if problem := h.checkNamespace(e.Namespace); problem != nil {
		return b, problem
	}
	b = e.Broadcast(h.endpoint.Hub().Lookup(e.Namespace))
	if r.local {
		b = b.Local()
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
