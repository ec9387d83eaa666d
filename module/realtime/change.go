package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// maxChangeRooms is how many rooms another node's change can name.
const maxChangeRooms = 10_000

// A change is what is done to each of the selected sockets.
type change struct {
	Selector   Selector                   `json:"selector"`
	Join       []string                   `json:"join,omitempty"`
	Leave      []string                   `json:"leave,omitempty"`
	Data       map[string]json.RawMessage `json:"data,omitempty"`
	Disconnect bool                       `json:"disconnect,omitempty"`
	Close      bool                       `json:"close,omitempty"` // with Disconnect: end whole connections

	// CheckOnly changes nothing, and only tells whether the sockets may join.
	CheckOnly bool `json:"check_only,omitempty"`

	local bool // sockets that have moved to other nodes are left out
}

// A changeResult says how many sockets were changed, or why none was.
type changeResult struct {
	Sockets int        `json:"sockets"`
	Refused *JoinError `json:"refused,omitempty"`
}

// A JoinError says why sockets may not join rooms. Either Room or Max is set.
type JoinError struct {
	Socket string `json:"socket,omitempty"` // that may not join
	Room   string `json:"room,omitempty"`   // is a socket's own
	Max    int    `json:"max,omitempty"`    // how many rooms the socket can be in
}

// Error implements error.
func (e *JoinError) Error() string {
	if e.Room != "" {
		return fmt.Sprintf("room %q is another socket's own", e.Room)
	}
	return fmt.Sprintf("socket %q would be in more than %d rooms", e.Socket, e.Max)
}

func (*change) kind() string { return kindChange }

func (c *change) check() error {
	for _, rooms := range [][]string{c.Join, c.Leave} {
		if len(rooms) > maxChangeRooms {
			return errors.New("change has too many rooms")
		}
		if err := checkNames(rooms); err != nil {
			return err
		}
	}
	return c.Selector.check()
}

func (c *change) run(ctx context.Context, h *Hub) (changeResult, error) {
	refused, err := c.forward(ctx, h)
	if err != nil {
		return changeResult{}, err
	}
	if refused != nil {
		return changeResult{Refused: refused}, nil
	}
	sockets := h.Find(c.Selector)
	if len(c.Join) > 0 {
		if refused := refusal(sockets, c.Join); refused != nil {
			return changeResult{Refused: refused}, nil
		}
	}
	result := changeResult{Sockets: len(sockets)}
	if c.CheckOnly {
		return result, nil
	}
	for _, s := range sockets {
		if len(c.Data) > 0 {
			s.SetData(c.Data)
		}
		if len(c.Leave) > 0 {
			s.Leave(c.Leave...)
		}
		if len(c.Join) > 0 {
			s.Join(c.Join...)
		}
		if c.Disconnect && s.Disconnect(c.Close) != nil {
			result.Sockets-- // it had disconnected already
		}
	}
	if h.Sealed() {
		return changeResult{}, ErrSealed // recoverable sockets may have been saved already
	}
	return result, nil
}

func (c *change) bridged(ctx context.Context, b Bridge) (changeResult, bool) {
	return changeBridged(ctx, b, c)
}

// refusal returns why the sockets may not join rooms; nil if they may.
func refusal(sockets []*Socket, rooms []string) *JoinError {
	seen := make(map[*Namespace]bool)
	for _, s := range sockets {
		if most := s.endpoint.Limits().Rooms; !s.CanJoin(rooms, most) {
			return &JoinError{Socket: s.id, Max: most}
		}
		if n := s.namespace; !seen[n] {
			seen[n] = true
			if i := slices.IndexFunc(rooms, n.IsSocketRoom); i >= 0 {
				return &JoinError{Socket: s.id, Room: rooms[i]}
			}
		}
	}
	return nil
}

func (*change) checkResult(r *changeResult) error {
	if r.Sockets < 0 {
		return errors.New("it has a number below 0")
	}
	return nil
}

func (*change) merge(results []changeResult) (all changeResult) {
	for _, r := range results {
		all.Sockets += r.Sockets
		if all.Refused == nil {
			all.Refused = r.Refused
		}
	}
	return all
}
