package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A speaker is one client of a crowd.
type speaker struct {
	crowd  *Crowd
	kind   Kind
	name   string // such as c17
	manner string
	room   string
	source *Source // of what it says
	client *Client

	published map[string]*Log // of publishers, by their names
	partner   *Log            // nil: it is in no pair

	mu     sync.Mutex
	came   bool   // it has been connected before
	id     string // of its socket; empty while it is away
	joined bool   // it is in its room
}

func newSpeaker(c *Crowd, kind Kind, i int) *speaker {
	s := &speaker{crowd: c, kind: kind, name: fmt.Sprint("c", i), manner: Told, published: make(map[string]*Log)}
	if c.Manner != nil {
		s.manner = c.Manner(i)
	}
	if s.manner == Chat {
		s.room = fmt.Sprint("room:", i/2)
	}
	s.source = NewSource(s.name)
	for _, p := range c.Publishers {
		s.published[p.Source.Name()] = c.Checker.Log(s.name, p.Source)
	}
	return s
}

// pair has the speaker hear another one.
func (s *speaker) pair(other *speaker) { s.partner = s.crowd.Checker.Log(s.name, other.source) }

// begin connects and begins to talk.
func (s *speaker) begin() {
	s.client = NewClient(&Options{
		URL: s.kind.URL, Transport: s.kind.Transport, TLS: s.kind.TLS, Origin: s.crowd.Origin,
		Auth: map[string]any{"client": s.name}, Resend: true, Repeats: &s.crowd.Repeats, Backoff: s.crowd.Backoff,
	}, s)
	s.crowd.talking.Go(s.talk)
}

// Connected implements Listener.
func (s *speaker) Connected(id string, recovered bool) {
	s.mu.Lock()
	again := s.came
	s.came, s.id = true, id
	if !recovered {
		s.joined = false
	}
	s.mu.Unlock()
	if again {
		s.crowd.Returns.Add()
		if !recovered {
			s.crowd.anew.Add(1)
		}
	}
	for _, l := range s.published {
		l.Connected(recovered)
	}
	if s.partner != nil && !recovered {
		s.partner.Left()
	}
}

// Event implements Listener.
func (s *speaker) Event(name string, args []json.RawMessage) {
	var from string
	var n uint32
	if len(args) != 2 || json.Unmarshal(args[0], &from) != nil || json.Unmarshal(args[1], &n) != nil {
		s.crowd.Checker.violate("%s got the event %s %s", s.name, name, args)
		return
	}
	l := s.published[from]
	if name == Chat && s.partner != nil && from == s.partner.source.name {
		l = s.partner
	}
	if l == nil {
		s.crowd.Checker.violate("%s got the event %s %s, which is not for it", s.name, name, args)
		return
	}
	l.Got(n)
}

// Lost implements Listener.
func (s *speaker) Lost(reason string, err error) {
	s.mu.Lock()
	s.id = ""
	s.mu.Unlock()
	s.crowd.Losses.Add()
	if s.crowd.Restarts && (reason == "transport close" || reason == "transport error") {
		return
	}
	s.crowd.problems.add("%s (%s) lost its connection: %s: %v", s.name, s.kind.Name, reason, err)
}

// Refused implements Listener.
func (s *speaker) Refused(err error) {
	var answer *answerError
	if s.crowd.Restarts && (!errors.As(err, &answer) || answer.status == http.StatusServiceUnavailable) {
		s.crowd.refused.Add(1)
		return
	}
	s.crowd.problems.add("%s (%s) was refused: %v", s.name, s.kind.Name, err)
}

// Wrong implements Listener.
func (s *speaker) Wrong(err error) { s.crowd.Checker.violate("%s: %v", s.name, err) }

// current returns the id of the speaker's socket.
func (s *speaker) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// talk says one number after the other, until the crowd leaves.
func (s *speaker) talk() {
	c := s.crowd
	due := time.Now()
	for {
		select {
		case <-s.client.Connected():
		case <-c.ctx.Done():
			return
		}
		// Whoever has had to wait for long shall not come together with all others.
		if late := time.Since(due); late > 3*c.Pace {
			due = time.Now().Add(rand.N(c.Pace))
		}
		select {
		case <-time.After(time.Until(due)):
		case <-c.ctx.Done():
			return
		}
		c.turn.RLock()
		if c.ctx.Err() == nil {
			s.say()
		}
		c.turn.RUnlock()
		due = due.Add(c.Pace)
	}
}

// say says the next number, and enters the room before if need be.
func (s *speaker) say() {
	id := s.current()
	if id == "" {
		return
	}
	if s.partner != nil && !s.isIn() {
		s.join(id)
		return
	}
	n := s.source.Next()
	begin := time.Now()
	answer, err := s.client.Emit(s.crowd.Patience, s.manner, s.name, n)
	switch {
	case errors.Is(err, ErrLost):
		s.crowd.torn.Add(1)
		return
	case err != nil:
		s.crowd.Checker.violate("%s: the ack of %d: %v", s.name, n, err)
		return
	}
	want := ""
	if s.manner != Chat {
		want = strconv.FormatUint(uint64(n), 10)
	}
	if got := joined(answer); got != want {
		s.crowd.problems.add("%s (%s): the ack of %d is %s", s.name, s.kind.Name, n, got)
		return
	}
	s.crowd.Acks.Add(time.Since(begin))
	s.source.Ack(n)
}

func (s *speaker) isIn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined
}

// join enters the room: from then on the other one is heard.
func (s *speaker) join(id string) {
	answer, err := s.client.Emit(s.crowd.Patience, "join", s.room)
	if errors.Is(err, ErrLost) {
		return
	}
	if got := joined(answer); err != nil || got != `{"ok":true}` {
		s.crowd.problems.add("%s (%s): the ack of join is %s, %v", s.name, s.kind.Name, got, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return // it has become another one meanwhile
	}
	s.joined = true
	s.partner.Connected(false)
}

func joined(args []json.RawMessage) string {
	var text strings.Builder
	for i, arg := range args {
		if i > 0 {
			text.WriteByte(',')
		}
		text.Write(arg)
	}
	return text.String()
}
