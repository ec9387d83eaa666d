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

// A sender is one client of a crowd.
type sender struct {
	crowd  *Crowd
	kind   Kind
	name   string // such as c17
	manner string
	room   string
	source *Source // of its own numbers
	client *Client

	published map[string]*Record // of publishers, by their names
	partner   *Record            // nil: it is in no pair

	mu     sync.Mutex
	came   bool   // it was connected before
	id     string // of its socket; "" while it is disconnected
	joined bool   // it is in its room
}

func newSender(c *Crowd, kind Kind, i int) *sender {
	s := &sender{crowd: c, kind: kind, name: fmt.Sprint("c", i), manner: Told, published: make(map[string]*Record)}
	if c.Manner != nil {
		s.manner = c.Manner(i)
	}
	if s.manner == Chat {
		s.room = fmt.Sprint("room:", i/2)
	}
	s.source = NewSource(s.name)
	for _, p := range c.Publishers {
		s.published[p.Source.Name()] = c.Checker.Record(s.name, p.Source)
	}
	return s
}

// pair has the sender receive the numbers of another one.
func (s *sender) pair(other *sender) { s.partner = s.crowd.Checker.Record(s.name, other.source) }

// begin connects and begins to send.
func (s *sender) begin() {
	s.client = NewClient(&Options{
		URL: s.kind.URL, Transport: s.kind.Transport, TLS: s.kind.TLS, Origin: s.crowd.Origin,
		Auth: map[string]any{"client": s.name}, Resend: true, Repeats: &s.crowd.Repeats, Backoff: s.crowd.Backoff,
	}, s)
	s.crowd.talking.Go(s.talk)
}

// Connected implements Listener.
func (s *sender) Connected(id string, recovered bool) {
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
			s.crowd.notRecovered.Add(1)
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
func (s *sender) Event(name string, args []json.RawMessage) {
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
func (s *sender) Lost(reason string, err error) {
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
func (s *sender) Refused(err error) {
	var answer *answerError
	if s.crowd.Restarts && (!errors.As(err, &answer) || answer.status == http.StatusServiceUnavailable) {
		s.crowd.refused.Add(1)
		return
	}
	s.crowd.problems.add("%s (%s) was refused: %v", s.name, s.kind.Name, err)
}

// Wrong implements Listener.
func (s *sender) Wrong(err error) { s.crowd.Checker.violate("%s: %v", s.name, err) }

// current returns the id of the sender's socket.
func (s *sender) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// talk sends one number after the other until the crowd leaves.
func (s *sender) talk() {
	c := s.crowd
	due := time.Now()
	for {
		select {
		case <-s.client.Connected():
		case <-c.ctx.Done():
			return
		}
		// After a long wait the clients must not all send at the same moment.
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

// say sends the next number. It joins the room before, if necessary.
func (s *sender) say() {
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
		s.crowd.unacked.Add(1)
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

func (s *sender) isIn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined
}

// join joins the room. From then on the sender receives the numbers of the other one.
func (s *sender) join(id string) {
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
		return // it is another socket meanwhile
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
