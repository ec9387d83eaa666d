package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// snapshotVersion is that of the format below. Another one is not read.
const snapshotVersion = 1

// A snapshot is what a hub owes those who may come back, for the process that
// takes its place.
type snapshot struct {
	Version    int                 `json:"v"`
	Namespaces []namespaceSnapshot `json:"namespaces"`
}

type namespaceSnapshot struct {
	Name      string             `json:"name"`
	Epoch     string             `json:"epoch"`
	Last      uint64             `json:"last"`
	Records   []recordSnapshot   `json:"records"` // up to the last, without a gap
	Absentees []absenteeSnapshot `json:"absentees"`
}

type recordSnapshot struct {
	remoteBroadcast           // without its namespace
	At              time.Time `json:"at"`
}

type absenteeSnapshot struct {
	ID       string                     `json:"id"`
	Endpoint string                     `json:"endpoint"`
	Session  string                     `json:"session,omitempty"`
	User     string                     `json:"user,omitempty"`
	Data     map[string]json.RawMessage `json:"data,omitempty"`
	Rooms    []string                   `json:"rooms,omitempty"`
	Expires  time.Time                  `json:"expires,omitzero"`
	Events   uint64                     `json:"events,omitempty"`
	Left     time.Time                  `json:"left"`
	// By what its client was authenticated: a fingerprint; "" where by nothing.
	Authentication string        `json:"authentication,omitempty"`
	Trail          trailSnapshot `json:"trail"`
}

type trailSnapshot struct {
	PID       string         `json:"pid"`
	Since     uint64         `json:"since"`
	Sent      uint64         `json:"sent"`
	Left      uint64         `json:"left"`
	Stays     []staySnapshot `json:"stays,omitempty"`
	Sessions  []string       `json:"sessions,omitempty"` // that the client had before
	Forgotten uint64         `json:"forgotten,omitempty"`
}

type staySnapshot struct {
	Room string `json:"room"`
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"` // 0: the socket is still there
}

// Seal ends what can happen in the hub, whose sockets are gone by now: events are
// refused with ErrSealed from here on. It returns what those who are away are
// owed, for Restore of a hub that takes this one's place, in another process
// even, and how many sockets that is for; nil if nobody can come back. The data
// holds the secrets by which clients do.
func (h *Hub) Seal() (data []byte, sockets int, err error) {
	h.mu.Lock()
	h.sealed = true // and so are the namespaces that come to be from now on
	h.mu.Unlock()
	s := snapshot{Version: snapshotVersion}
	fingerprints := make(map[string]*fingerprint)
	for _, n := range h.Namespaces() {
		n.seal()
		if r := n.recovery.Load(); r != nil {
			if one, ok := r.snapshot(fingerprints); ok {
				s.Namespaces = append(s.Namespaces, one)
				sockets += len(one.Absentees)
			}
		}
	}
	if len(s.Namespaces) == 0 {
		return nil, 0, nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // arguments are kept as they are
	if err := encoder.Encode(s); err != nil {
		return nil, 0, fmt.Errorf("encoding snapshot: %w", err)
	}
	return b.Bytes(), sockets, nil
}

// Sealed reports whether Seal has been called. What was done before to sockets
// whose clients are away is in what it returns; what is done now may not be.
func (h *Hub) Sealed() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.sealed
}

// seal waits for the broadcasts that are under way, and lets no other begin.
func (n *Namespace) seal() {
	defer n.order.lockAll()()
	n.sealed.Store(true)
}

// snapshot returns what the namespace owes. It reports false if nobody is away. It
// adds to the fingerprints of what clients were authenticated by.
func (r *recovery) snapshot(fingerprints map[string]*fingerprint) (s namespaceSnapshot, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return s, false
	}
	r.tidy()
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	for e := r.absentees.queue.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*absentee); a.ready && !a.socket.expired() && a.socket.trail.epoch == r.history.epoch {
			s.Absentees = append(s.Absentees, a.snapshot(fingerprints))
		}
	}
	if len(s.Absentees) == 0 {
		return s, false
	}
	s.Name, s.Epoch, s.Last = r.namespace.name, r.history.epoch, r.history.last
	s.Records = make([]recordSnapshot, len(r.history.records))
	for i := range r.history.records {
		record := &r.history.records[i]
		s.Records[i] = recordSnapshot{newRemoteBroadcast(record.message, &record.to), record.at}
		s.Records[i].Namespace = ""
	}
	return s, true
}

func (a *absentee) snapshot(fingerprints map[string]*fingerprint) absenteeSnapshot {
	t := a.socket.trail
	s := absenteeSnapshot{
		ID:       a.socket.id,
		Endpoint: a.socket.endpoint.name,
		Session:  a.socket.session,
		User:     a.socket.user,
		Data:     a.socket.Data(),
		Rooms:    a.socket.rooms,
		Expires:  a.socket.expires,
		Events:   a.socket.events.Load(),
		Left:     a.since,
		Trail:    trailSnapshot{PID: t.pid, Since: t.since, Sent: t.sent, Left: t.left, Forgotten: t.forgotten, Sessions: t.sessions},
	}
	switch {
	case t.fingerprint != nil:
		s.Authentication = t.fingerprint.String()
	case t.authentication != "":
		if fingerprints[t.authentication] == nil {
			fingerprints[t.authentication] = newFingerprint(t.authentication)
		}
		s.Authentication = fingerprints[t.authentication].String()
	}
	for _, stay := range t.stays {
		one := staySnapshot{Room: stay.room, From: stay.from}
		if stay.to != stillThere {
			one.To = stay.to
		}
		s.Trail.Stays = append(s.Trail.Stays, one)
	}
	return s
}

// Restore takes over what Seal has returned, and reports for how many sockets
// clients may come back to. It does nothing for namespaces without recovery, or
// where something has happened already: what would be missed then is not known.
// The error says why what it was given is not what Seal returns; then nothing has
// changed.
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
	fingerprints := make(map[string]*fingerprint)
	for _, one := range s.Namespaces {
		n, err := h.occupy(one.Name, new(Policy))
		if err != nil {
			break
		}
		if r := n.recovery.Load(); r != nil {
			sockets += r.restoreAll(&one, fingerprints)
		}
		h.vacate(n) // unless somebody may come back to it
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
	for _, a := range s.Absentees {
		t := &a.Trail
		if a.ID == "" || t.PID == "" || max(t.Since, t.Sent, t.Left, t.Forgotten) > s.Last {
			return errors.New("it has a socket that is none")
		}
		if a.Authentication != "" {
			if _, err := parseFingerprint(a.Authentication); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreAll takes over what another process owed, and returns how many sockets
// that is about. Those with the same fingerprint share it.
func (r *recovery) restoreAll(s *namespaceSnapshot, fingerprints map[string]*fingerprint) (sockets int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.history.last > 0 || r.absentees.oldest() != nil {
		return 0
	}
	if !r.restoreHistory(s) {
		return 0
	}
	for i := range s.Absentees {
		r.restoreAbsentee(&s.Absentees[i], fingerprints)
	}
	r.tidy()
	r.startTimer()
	return r.absentees.len()
}

func (r *recovery) restoreAbsentee(s *absenteeSnapshot, fingerprints map[string]*fingerprint) {
	n, t := r.namespace, s.Trail.trail(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.trails[t.pid] != nil || n.owned(s.ID) {
		return
	}
	if text := s.Authentication; text != "" {
		if fingerprints[text] == nil {
			f, err := parseFingerprint(text)
			if err != nil {
				return // it has been read before
			}
			fingerprints[text] = f
		}
		t.fingerprint = fingerprints[text]
	}
	t.state.data = s.Data
	a := &absentee{
		socket: &Socket{
			id:        s.ID,
			namespace: n,
			endpoint:  n.hub.restored(s.Endpoint),
			conn:      noConn{},
			session:   s.Session,
			user:      s.User,
			connected: s.Left,
			expires:   s.Expires,
			trail:     t,
			gone:      true,
		},
		since: s.Left,
		ready: true,
	}
	a.socket.events.Store(s.Events)
	r.trails[t.pid] = t
	r.remember(a, s.Rooms)
}

// restoreHistory reports whether all of the events make sense.
func (r *recovery) restoreHistory(s *namespaceSnapshot) bool {
	restored := history{epoch: s.Epoch, last: s.Last - uint64(len(s.Records))}
	for _, one := range s.Records {
		m, err := one.message(r.namespace.oldMessage)
		if err != nil {
			return false
		}
		restored.append(m, one.audience())
		restored.records[len(restored.records)-1].at = one.At
	}
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	if len(r.namespace.sockets) > 0 {
		return false // they have the numbers of another history
	}
	r.history = restored
	return true
}

func (s *trailSnapshot) trail(r *recovery) *trail {
	t := &trail{recovery: r, pid: s.PID, epoch: r.history.epoch, since: s.Since, sent: s.Sent, left: s.Left, forgotten: s.Forgotten}
	t.follow(s.Sessions...)
	for _, one := range s.Stays {
		if one.To == 0 {
			one.To = stillThere
		}
		t.stays = append(t.stays, stay{one.Room, one.From, one.To})
	}
	return t
}
