package caddy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Relay)) }

// Relay handles events without a backend. It passes them on, unchanged, to the other members of the
// sender's rooms. If the sender awaits an ack, it gets one without arguments.
//
// If Rooms is set, Relay also handles the events "join" and "leave". Their only argument is a room
// or an array of up to 100 rooms. Their ack is {"ok":true}, or {"error":{"code","message"}} if the
// client has not joined or left the rooms.
type Relay struct {
	// Events are the names of the events to pass on. They are globs, in which * stands for any
	// characters and ? for one. Default: none.
	Events realtime.Globs `json:"events,omitempty"`

	// Rooms are the rooms that clients may join and leave by themselves. They are globs. Default:
	// none.
	Rooms realtime.Globs `json:"rooms,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Relay) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.relay", New: func() caddy.Module { return new(Relay) }}
}

// Validate implements caddy.Validator.
func (r *Relay) Validate() error {
	if len(r.Events) == 0 && len(r.Rooms) == 0 {
		return errors.New("relay does nothing without events or rooms")
	}
	return nil
}

// HandleConnect implements realtime.Handler.
func (r *Relay) HandleConnect(context.Context, *realtime.Socket) {}

// HandleDisconnect implements realtime.Handler.
func (r *Relay) HandleDisconnect(context.Context, *realtime.Socket, string) {}

// HandleEvent implements realtime.Handler.
func (r *Relay) HandleEvent(ctx context.Context, e *realtime.Event) (handled bool, err error) {
	switch {
	case len(r.Rooms) > 0 && e.Name == "join":
		return true, r.move(e, e.Socket.Join)
	case len(r.Rooms) > 0 && e.Name == "leave":
		return true, r.move(e, e.Socket.Leave)
	case !r.Events.Match(e.Name):
		return false, nil
	}
	if rooms := e.Socket.Rooms(); len(rooms) > 0 {
		err := e.Socket.To(rooms...).Emit(ctx, e.Name, e.Args...)
		if errors.Is(err, realtime.ErrLocalOnly) { // the hub has logged it
			return true, &realtime.Error{Code: "broker_unavailable", Message: "clients of other nodes do not get the event"}
		}
		if err != nil {
			return true, err
		}
	}
	return true, answer(e)
}

// move joins or leaves the rooms that an event names. If one of them is forbidden, move does
// nothing.
func (r *Relay) move(e *realtime.Event, move func(rooms ...string)) error {
	rooms, ok := roomsOf(e.Args)
	if !ok {
		return &realtime.Error{Code: "bad_argument", Message: e.Name + " takes a room or an array of rooms"}
	}
	for _, room := range rooms {
		// Each socket has a room of its own, whose name is the socket's id. Another client in that
		// room would get the events that are meant for the socket alone.
		if e.Socket.Namespace().IsSocketRoom(room) || !r.Rooms.Match(room) {
			return &realtime.Error{Code: "forbidden", Message: fmt.Sprintf("clients may not %s the room %q", e.Name, room)}
		}
	}
	if most := e.Socket.Endpoint().Limits().Rooms; e.Name == "join" && !e.Socket.CanJoin(rooms, most) {
		return &realtime.Error{Code: "limit", Message: fmt.Sprintf("a client can be in %d rooms", most)}
	}
	move(rooms...)
	return answer(e, realtime.Arg{JSON: json.RawMessage(`{"ok":true}`)})
}

// maxRooms bounds the rooms of one join or leave.
const maxRooms = 100

// roomsOf returns the rooms in the argument of join or leave; false if the argument is invalid.
func roomsOf(args []realtime.Arg) ([]string, bool) {
	if len(args) != 1 {
		return nil, false
	}
	var rooms []string
	if err := json.Unmarshal(args[0].JSON, &rooms); err != nil {
		var room string
		if err := json.Unmarshal(args[0].JSON, &room); err != nil {
			return nil, false
		}
		rooms = []string{room}
	}
	tooLong := func(room string) bool { return room == "" || len(room) > realtime.MaxRoomName }
	return rooms, len(rooms) > 0 && len(rooms) <= maxRooms && !slices.ContainsFunc(rooms, tooLong)
}

// answer sends an event's ack, if the client awaits one.
func answer(e *realtime.Event, args ...realtime.Arg) error {
	if e.Ack == nil {
		return nil
	}
	_ = e.Ack(args...) // an error means that the client is being disconnected
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	relay {
//		events <glob>...
//		rooms  <glob>...
//	}
func (r *Relay) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	where := newPositions(d)
	if d.NextArg() {
		return d.Err("relay takes no arguments; it has a block with events and rooms")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		globs := &r.Events
		switch d.Val() {
		case "events":
		case "rooms":
			globs = &r.Rooms
		default:
			return d.Errf("relay has no option %q%s; it has events and rooms",
				d.Val(), didYouMean(d.Val(), []string{"events", "rooms"}))
		}
		option, args := d.Val(), d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("relay: %s takes one or more globs, such as message or room:*", option)
		}
		*globs = append(*globs, args...)
	}
	if err := r.Validate(); err != nil {
		return where.wrap("", err)
	}
	return nil
}

// Interface guards
var (
	_ realtime.Handler      = (*Relay)(nil)
	_ caddy.Validator       = (*Relay)(nil)
	_ caddyfile.Unmarshaler = (*Relay)(nil)
)
