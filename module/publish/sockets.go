package publish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A change is a command that changes sockets.
type change interface {
	// members returns the members of its body, without "where".
	members() members
	// check reports what is wrong with the change.
	check() *Problem
	// apply changes the sockets that are selected.
	apply(context.Context, realtime.Nodes, realtime.Selector) (realtime.Changed, error)
}

// changes are all changes, by the names of their commands.
var changes = map[string]func() change{
	"join":       func() change { return new(joinChange) },
	"leave":      func() change { return new(leaveChange) },
	"disconnect": func() change { return new(disconnectChange) },
	"data":       func() change { return new(dataChange) },
}

// changed is the answer to a change.
type changed struct {
	Sockets      int      `json:"sockets"` // with those whose clients may come back
	MissingNodes []string `json:"missing_nodes,omitempty"`
}

// command returns the function that serves a change's call.
func command(name string) func(*Handler, context.Context, *request) (int, any, *Problem) {
	return func(h *Handler, ctx context.Context, r *request) (int, any, *Problem) {
		answer, problem := h.change(ctx, h.nodes(r), name, "", r.body)
		return http.StatusOK, answer, problem
	}
}

// change applies a change.
func (h *Handler) change(ctx context.Context, nodes realtime.Nodes, name, place string, data []byte) (any, *Problem) {
	c := changes[name]()
	var conditions json.RawMessage
	fields := c.members()
	fields["where"] = &conditions
	if problem := fields.read(place, data); problem != nil {
		return nil, problem
	}
	w, problem := parseWhere(within(place, "where"), conditions)
	if problem != nil {
		return nil, problem
	}
	selector := w.selector(h.endpoint)
	if problem := h.checkServed(ctx, nodes, &selector); problem != nil {
		return nil, problem
	}
	if problem := c.check(); problem != nil {
		return nil, problem
	}
	// The change is for all sockets, even if the caller hangs up.
	done, err := c.apply(context.WithoutCancel(ctx), nodes, selector)
	if err != nil {
		return nil, changeProblem(err)
	}
	if d, ok := c.(*disconnectChange); ok && done.Sockets > 0 {
		h.options.Logger.Info("sockets disconnected by the API",
			zap.Int("sockets", done.Sockets), zap.String("reason", d.reason))
	}
	return changed{done.Sockets, done.MissingNodes}, nil
}

func changeProblem(err error) *Problem {
	refused, ok := errors.AsType[*realtime.JoinError](err)
	switch {
	case errors.Is(err, realtime.ErrSealed):
		return errSealed
	case errors.Is(err, realtime.ErrTooLarge):
		return errTooLargeForNodes
	case !ok:
		return problemf(http.StatusInternalServerError, "internal", "%v", err)
	case refused.Room != "":
		return errReservedRoom(refused.Room)
	}
	return problemf(http.StatusBadRequest, "too_many_rooms", "the socket %s would be in more than %d rooms, which limits rooms allows", quote(refused.Socket), refused.Max)
}

// A joinChange makes sockets join rooms.
type joinChange struct{ rooms []string }

func (j *joinChange) members() members { return members{"rooms": &j.rooms} }

func (j *joinChange) check() *Problem { return checkRooms(j.rooms) }

func (j *joinChange) apply(ctx context.Context, nodes realtime.Nodes, s realtime.Selector) (realtime.Changed, error) {
	return nodes.Join(ctx, s, j.rooms...)
}

// A leaveChange makes sockets leave rooms.
type leaveChange struct{ rooms []string }

func (l *leaveChange) members() members { return members{"rooms": &l.rooms} }
func (l *leaveChange) check() *Problem  { return checkRooms(l.rooms) }

func (l *leaveChange) apply(ctx context.Context, nodes realtime.Nodes, s realtime.Selector) (realtime.Changed, error) {
	return nodes.Leave(ctx, s, l.rooms...)
}

// maxRooms is how many rooms one command can name.
const maxRooms = 1000

func checkRooms(rooms []string) *Problem {
	switch {
	case len(rooms) == 0:
		return badField("rooms must be an array of one or more names")
	case len(rooms) > maxRooms:
		return badField("rooms has more than %d names", maxRooms)
	}
	return checkNames("rooms", rooms)
}

// A disconnectChange disconnects sockets, or with closing ends their whole connections. The
// reason is for the log: Socket.IO has no place for one.
type disconnectChange struct {
	reason  string
	closing bool
}

func (d *disconnectChange) members() members {
	return members{"reason": &d.reason, "close": &d.closing}
}

func (d *disconnectChange) check() *Problem {
	if d.reason == "" {
		return nil
	}
	return checkName("reason", d.reason)
}

func (d *disconnectChange) apply(ctx context.Context, nodes realtime.Nodes, s realtime.Selector) (realtime.Changed, error) {
	return nodes.Disconnect(ctx, s, d.closing)
}

// A dataChange sets members of the data of sockets.
type dataChange struct{ patch map[string]json.RawMessage }

func (p *dataChange) members() members { return members{"patch": &p.patch} }

func (p *dataChange) check() *Problem {
	if p.patch == nil {
		return badField("patch is missing")
	}
	return nil
}

func (p *dataChange) apply(ctx context.Context, nodes realtime.Nodes, s realtime.Selector) (realtime.Changed, error) {
	return nodes.SetData(ctx, s, p.patch)
}
