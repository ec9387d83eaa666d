package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// snapshotVersion is the version of the format below. Other versions are not read.
const snapshotVersion = 2

// A snapshot is the state of a hub's recoverable sockets, for the process that replaces this one.
type snapshot struct {
	Version    int                 `json:"v"`
	Namespaces []namespaceSnapshot `json:"namespaces"`
}

type namespaceSnapshot struct {
	Name    string           `json:"name"`
	Epoch   string           `json:"epoch"`
	Last    uint64           `json:"last"`
	Records []recordSnapshot `json:"records"` // ends with the event Last, without a gap
	Sockets []socketSnapshot `json:"sockets"`
}

type recordSnapshot struct {
	remoteBroadcast           // without its namespace
	At              time.Time `json:"at"`
	Earlier         []uint64  `json:"earlier,omitempty"` // as that of a record
}

type socketSnapshot struct {
	ID       string                     `json:"id"`
	Endpoint string                     `json:"endpoint"`
	Session  string                     `json:"session,omitempty"`
	User     string                     `json:"user,omitempty"`
	Data     map[string]json.RawMessage `json:"data,omitempty"`
	Rooms    []string                   `json:"rooms,omitempty"`
	Expires  time.Time                  `json:"expires,omitzero"`
	Events   uint64                     `json:"events,omitempty"`
	Left     time.Time                  `json:"left"`
	// Authentication is the fingerprint of the Authentication that accepted the client, if any.
	Authentication string                `json:"authentication,omitempty"`
	State          recoveryStateSnapshot `json:"state"`
}

type recoveryStateSnapshot struct {
	PID         string               `json:"pid"`
	Start       uint64               `json:"start"`
	LastSent    uint64               `json:"last_sent"`
	Left        uint64               `json:"left"`
	Memberships []membershipSnapshot `json:"memberships,omitempty"`
	Sessions    []string             `json:"sessions,omitempty"` // earlier ones of the client
	Dropped     uint64               `json:"dropped,omitempty"`
	Imported    *importedSnapshot    `json:"imported,omitempty"`
}

// An importedSnapshot is what a socket has from the node that had it before.
type importedSnapshot struct {
	Offset string            `json:"offset"`
	After  uint64            `json:"after"`
	Count  int               `json:"count"`
	Events []remoteBroadcast `json:"events,omitempty"` // without their namespaces; all of them, or none
	At     time.Time         `json:"at"`
	Got    []uint64          `json:"got,omitempty"` // the events of the history that the client got before
}

type membershipSnapshot struct {
	Room string `json:"room"`
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"` // 0 if the socket is still in the room
}

// Seal stops the hub and returns the state of recoverable sockets, for Restore of a hub that
// replaces this one, perhaps in another process, and how many sockets that is. The data is nil if
// there are none. All sockets must be disconnected before. From now on events are refused with
// ErrSealed. The data holds secrets: the private ids by which clients recover their sockets.
func (h *Hub) Seal() (data []byte, sockets int, err error) {
	h.mu.Lock()
	h.sealed = true // this includes namespaces that are added from now on
	h.mu.Unlock()
	h.bus.Leave()
	s := snapshot{Version: snapshotVersion}
	fingerprints := make(map[string]*fingerprint)
	for _, n := range h.Namespaces() {
		n.seal()
		if r := n.recovery.Load(); r != nil {
			if one, ok := r.snapshot(fingerprints); ok {
				s.Namespaces = append(s.Namespaces, one)
				sockets += len(one.Sockets)
			}
		}
	}
	if len(s.Namespaces) == 0 {
		return nil, 0, nil
	}
	var b bytes.Buffer
	if err := rawjson.Encode(&b, s); err != nil {
		return nil, 0, fmt.Errorf("encoding snapshot: %w", err)
	}
	return b.Bytes(), sockets, nil
}

// Sealed reports whether Seal has been called. What was done to disconnected sockets before is in
// the data that it returned; what is done afterwards may not be.
func (h *Hub) Sealed() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.sealed
}

// seal waits for running broadcasts and refuses later ones.
func (n *Namespace) seal() {
	defer n.order.lockAll()()
	n.sealed.Store(true)
}

// snapshot returns the state of the namespace's recoverable sockets. It reports false if there are
// none. It adds to fingerprints, which holds those of each Authentication.
func (r *recoveryStore) snapshot(fingerprints map[string]*fingerprint) (s namespaceSnapshot, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return s, false
	}
	r.prune()
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	for e := r.disconnected.queue.Front(); e != nil; e = e.Next() {
		if d := e.Value.(*disconnectedSocket); d.ready && !d.socket.expired() && d.socket.recovery.epoch == r.history.epoch {
			s.Sockets = append(s.Sockets, d.snapshot(fingerprints))
		}
	}
	if len(s.Sockets) == 0 {
		return s, false
	}
	s.Name, s.Epoch, s.Last = r.namespace.name, r.history.epoch, r.history.last
	s.Records = make([]recordSnapshot, len(r.history.records))
	for i := range r.history.records {
		record := &r.history.records[i]
		s.Records[i] = recordSnapshot{newRemoteBroadcast(record.message, &record.to), record.at, record.earlier}
		s.Records[i].Namespace = ""
	}
	return s, true
}

func (d *disconnectedSocket) snapshot(fingerprints map[string]*fingerprint) socketSnapshot {
	state := d.socket.recovery
	s := socketSnapshot{
		ID:       d.socket.id,
		Endpoint: d.socket.endpoint.name,
		Session:  d.socket.session,
		User:     d.socket.user,
		Data:     d.socket.Data(),
		Rooms:    d.socket.roomNames(),
		Expires:  d.socket.expires,
		Events:   d.socket.events.Load(),
		Left:     d.since,
		State:    recoveryStateSnapshot{PID: state.pid, Start: state.start, LastSent: state.lastSent, Left: state.left, Dropped: state.memberships.dropped, Sessions: state.sessions},
	}
	switch {
	case state.fingerprint != nil:
		s.Authentication = state.fingerprint.String()
	case state.authentication != "":
		if fingerprints[state.authentication] == nil {
			fingerprints[state.authentication] = newFingerprint(state.authentication)
		}
		s.Authentication = fingerprints[state.authentication].String()
	}
	s.State.Imported = state.snapshotImported()
	for _, m := range state.memberships.entries {
		one := membershipSnapshot{Room: m.room, From: m.from}
		if m.to != stillMember {
			one.To = m.to
		}
		s.State.Memberships = append(s.State.Memberships, one)
	}
	return s
}

// Restore adds the recoverable sockets that Seal has returned, and returns how many they are. It
// skips namespaces without recovery and those in which events have been sent already: what clients
// would have missed of these is not known. If data is not what Seal returned, nothing changes and
// the error says why.
func (h *Hub) Restore(data []byte) (sockets int, err error) {
	if !utf8.Valid(data) {
		return 0, errors.New("decoding snapshot: it is not in UTF-8")
	}
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return 0, fmt.Errorf("decoding snapshot: %w", err)
	}
	if s.Version != snapshotVersion {
		return 0, fmt.Errorf("decoding snapshot: it has version %d, and not %d", s.Version, snapshotVersion)
	}
	for _, one := range s.Namespaces {
		if err := one.check(); err != nil {
			return 0, fmt.Errorf("decoding snapshot: namespace %q: %w", one.Name, err)
		}
	}
	done := h.beginRestore()
	defer func() { done(sockets) }()
	fingerprints := make(map[string]*fingerprint)
	for _, one := range s.Namespaces {
		n, err := h.findOrAdd(one.Name, new(Policy))
		if err != nil {
			break
		}
		if r := n.recovery.Load(); r != nil {
			sockets += r.restoreAll(&one, fingerprints)
		}
		h.removeIfUnused(n)
	}
	return sockets, nil
}

func (s *namespaceSnapshot) check() error {
	switch {
	case s.Name == "" || s.Epoch == "":
		return errors.New("it has no name or no epoch")
	case s.Last < uint64(len(s.Records)):
		return errors.New("it has more events than there were")
	}
	for _, one := range s.Sockets {
		state := &one.State
		if i := state.Imported; i != nil && (i.After > s.Last || i.Count < 0 || len(i.Events) > 0 && len(i.Events) != i.Count) {
			return errors.New("it has invalid imported events")
		}
		if one.ID == "" || state.PID == "" || max(state.Start, state.LastSent, state.Left, state.Dropped) > s.Last {
			return errors.New("it has an invalid socket")
		}
		if one.Authentication != "" {
			if _, err := parseFingerprint(one.Authentication); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreAll restores a namespace's sockets and history, and returns how many sockets there are.
// Sockets with the same fingerprint share one.
func (r *recoveryStore) restoreAll(s *namespaceSnapshot, fingerprints map[string]*fingerprint) (sockets int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.history.last > 0 || r.disconnected.oldest() != nil {
		return 0
	}
	if !r.restoreHistory(s) {
		return 0
	}
	for i := range s.Sockets {
		r.restoreSocket(&s.Sockets[i], fingerprints)
	}
	r.prune()
	r.startTimer()
	return r.disconnected.len()
}

func (r *recoveryStore) restoreSocket(s *socketSnapshot, fingerprints map[string]*fingerprint) {
	n, state := r.namespace, s.State.restore(r)
	if state == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.states[state.pid] != nil || n.hasIDLocked(s.ID) {
		return
	}
	if text := s.Authentication; text != "" {
		if fingerprints[text] == nil {
			f, err := parseFingerprint(text)
			if err != nil {
				return // cannot happen: check has parsed it
			}
			fingerprints[text] = f
		}
		state.fingerprint = fingerprints[text]
	}
	state.data.members = s.Data
	d := &disconnectedSocket{
		socket: &Socket{
			id:        s.ID,
			namespace: n,
			endpoint:  n.hub.restoredEndpoint(s.Endpoint),
			conn:      noConn{},
			session:   s.Session,
			user:      s.User,
			connected: s.Left,
			expires:   s.Expires,
			recovery:  state,
			gone:      true,
		},
		since: s.Left,
		ready: true,
	}
	d.socket.events.Store(s.Events)
	r.states[state.pid] = state
	r.addDisconnected(d, s.Rooms)
}

// restoreHistory reports whether all events are valid.
func (r *recoveryStore) restoreHistory(s *namespaceSnapshot) bool {
	restored := history{epoch: s.Epoch, last: s.Last - uint64(len(s.Records))}
	for _, one := range s.Records {
		m, err := one.message(r.namespace.restoreMessage)
		if err != nil {
			return false
		}
		newest := restored.append(m, one.target())
		newest.at, newest.earlier = one.At, one.Earlier
	}
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	if len(r.namespace.sockets) > 0 {
		return false // they count the events of another history
	}
	r.history = restored
	return true
}

// restore returns nil if an event is not valid.
func (s *recoveryStateSnapshot) restore(r *recoveryStore) *recoveryState {
	state := &recoveryState{store: r, pid: s.PID, epoch: r.history.epoch, start: s.Start, lastSent: s.LastSent, left: s.Left}
	state.addSessions(s.Sessions...)
	for _, one := range s.Memberships {
		if one.To == 0 {
			one.To = stillMember
		}
		state.memberships.entries = append(state.memberships.entries, membership{room: one.Room, from: one.From, to: one.To})
	}
	state.memberships.dropped = s.Dropped
	if s.Imported != nil && !r.restoreImportedEvents(state, s.Imported) {
		return nil
	}
	return state
}
