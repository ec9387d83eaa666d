package bus

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// heartbeatInterval is how often a node says that it lives, and lossPeriod how long it must have
	// been silent to be lost.
	heartbeatInterval = time.Second
	lossPeriod        = 5 * time.Second

	// awayAfter is how long a node may not have heard its own heartbeats until it considers its
	// broker away.
	awayAfter = 2500 * time.Millisecond

	// maxMembers is how many other nodes are known at a time, living and lost ones together.
	maxMembers = 1000

	// maxTag is how many bytes a tag may have.
	maxTag = 16

	// forgetAfter is how long a lost node is remembered, so that it is told when it comes back.
	forgetAfter = 10 * time.Minute
)

// A Member is another node of the hub that lives.
type Member struct {
	Node        string
	Incarnation string // changes when another process has the name, or the node was declared lost
	Tag         string // see Options.Tag
	Leaving     bool   // it has said that it is about to end
}

// A Change is what has happened to a member.
type Change struct {
	Node        string
	Incarnation string
	What        Event
}

// An Event is a kind of Change.
type Event string

// The kinds of changes. A node whose incarnation changes is lost first, and then joins.
const (
	Joined Event = "joined"
	Left   Event = "left" // it has said so
	Lost   Event = "lost" // it has been silent for too long, or another incarnation has taken its place

	// DeclaredLost means that other nodes have declared this one lost, by mistake. Node is this
	// node's, and Incarnation the one that it has taken since: nodes know nothing more of what the
	// former one has told them.
	DeclaredLost Event = "declared lost"
)

// members are the other nodes. A node is known by its heartbeats.
type members struct {
	node   string
	logger *zap.Logger
	notify func(Change) // called in the order of the changes, one at a time, with no lock held
	alone  atomic.Bool  // no other node lives, and this one has heard its broker for long enough to know

	mu      sync.Mutex
	known   map[string]*member
	living  int
	changes []Change // not told yet
	telling bool

	// This node itself.
	incarnation string
	former      string    // the incarnation before it, if it has taken one
	since       time.Time // when it has taken its incarnation
	rivals      int       // heartbeats of another node with its name
	heard       time.Time // its own heartbeat, the last time
	connected   time.Time // since when it has heard its own heartbeats; zero while its broker is away
	resumeAfter uint64    // only a later heartbeat shows that the broker is back
	checked     time.Time
}

// A member is what is known of another node.
type member struct {
	incarnation string
	tag         string
	lost        bool
	leaving     bool
	speaks      int // the newest version that it speaks
	heard       time.Time
	heartbeat   uint64 // the number of the last one

	former string // the incarnation before this one
	rivals int    // heartbeats of former since
}

func newMembers(node string, logger *zap.Logger, notify func(Change)) *members {
	return &members{node: node, logger: logger, notify: notify, known: make(map[string]*member), heard: time.Now()}
}

// begin starts an incarnation of this node.
func (m *members) begin(incarnation string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.former, m.incarnation, m.since, m.rivals = m.incarnation, incarnation, time.Now(), 0
}

// hearSelf takes a heartbeat that has this node's name.
func (m *members) hearSelf(incarnation string, number uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch incarnation {
	case m.incarnation:
		m.heard = time.Now()
		if m.connected.IsZero() && number > m.resumeAfter {
			m.connected = m.heard
		}
	case m.former:
	default:
		// One of a process that has just ended may be late.
		if m.rivals++; m.rivals > 1 {
			m.logger.Error("another node has the name of this one: give each node a name of its own", zap.String("node", m.node))
		}
	}
}

// A report is what a heartbeat has changed.
type report struct {
	fresh       bool // it is from the node's living incarnation
	joined      bool
	replaced    bool // the node has joined in the place of an incarnation that has not left
	missing     bool // one before it has not come
	declareLost bool // it is from an incarnation that has been declared lost: it must be told
}

// hear takes a heartbeat of another node.
func (m *members) hear(node string, h *header, beat *heartbeat) (r report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[node]
	switch {
	case known == nil:
		if len(m.known) >= maxMembers && !m.forgetLost(time.Time{}) {
			m.logger.Error("nodes are ignored: there are too many", zap.Int("nodes", len(m.known)))
			return report{}
		}
		known = new(member)
		m.known[node] = known
		m.join(node, known, h.Incarnation)
		r.joined = true
	case known.lost && known.incarnation == h.Incarnation:
		return report{declareLost: true}
	case known.incarnation == h.Incarnation:
		r.missing = h.Sequence > known.heartbeat+1
	case known.former == h.Incarnation && !known.lost:
		if known.rivals++; known.rivals > 1 {
			m.logger.Error("two living nodes have the same name: give each node a name of its own", zap.String("node", node))
		}
		return report{}
	default:
		if !known.lost {
			m.lose(node, known)
		}
		former := known.incarnation
		*known = member{former: former}
		m.join(node, known, h.Incarnation)
		r.joined, r.replaced = true, true
	}
	r.fresh = true
	known.heard, known.leaving, known.heartbeat = time.Now(), beat.Leaving, max(known.heartbeat, h.Sequence)
	known.speaks, known.tag = max(beat.Speaks, minVersion), beat.Tag
	return r
}

// join and lose record changes. The caller of these and of leave holds the mutex.
func (m *members) join(node string, known *member, incarnation string) {
	known.incarnation = incarnation
	m.living++
	m.alone.Store(false)
	m.changes = append(m.changes, Change{node, incarnation, Joined})
}

func (m *members) lose(node string, known *member) {
	known.lost = true
	m.living--
	m.changes = append(m.changes, Change{node, known.incarnation, Lost})
}

func (m *members) leave(node string, known *member) {
	delete(m.known, node)
	m.living--
	m.changes = append(m.changes, Change{node, known.incarnation, Left})
}

// hearLeave takes a node's last message. It reports false if that is no living incarnation.
func (m *members) hearLeave(node, incarnation string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[node]
	if known == nil || known.lost || known.incarnation != incarnation {
		return false
	}
	m.leave(node, known)
	return true
}

// leaveAll has all members leave, since the broker has been replaced: it begins anew to find out who
// lives. It returns those that lived.
func (m *members) leaveAll() (left []Member) {
	left = m.list()
	m.mu.Lock()
	defer m.mu.Unlock()
	for node, known := range m.known {
		if known.lost {
			delete(m.known, node)
			continue
		}
		m.leave(node, known)
	}
	m.alone.Store(false)
	m.heard, m.connected, m.resumeAfter, m.checked = time.Now(), time.Time{}, 0, time.Time{}
	return left
}

// forgetLost drops lost nodes that were heard last before a time, or the one that was heard first
// if the time is zero. It reports whether it has dropped any.
func (m *members) forgetLost(before time.Time) (dropped bool) {
	var oldest string
	for node, known := range m.known {
		switch {
		case !known.lost:
		case known.heard.Before(before):
			delete(m.known, node)
			dropped = true
		case oldest == "" || known.heard.Before(m.known[oldest].heard):
			oldest = node
		}
	}
	if before.IsZero() && oldest != "" {
		delete(m.known, oldest)
		return true
	}
	return dropped
}

// check declares silent nodes lost, and returns them. It is called before each heartbeat of this
// node, with the number of the last one.
//
// A node whose broker is away hears nobody, and that says nothing about them. The broker delivers
// to the publisher, too: while a node does not hear itself, it declares nobody lost, nor for
// another loss period after that. The same holds if the process has been stopped meanwhile.
func (m *members) check(sent uint64) (lost []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	stopped := !m.checked.IsZero() && now.Sub(m.checked) > awayAfter
	m.checked = now
	if stopped || now.Sub(m.heard) > awayAfter {
		if !m.connected.IsZero() {
			m.logger.Warn("broker is away: this node does not hear itself")
		}
		m.connected, m.resumeAfter = time.Time{}, sent
		return nil
	}
	if !m.settled(now) {
		return nil
	}
	m.forgetLost(now.Add(-forgetAfter))
	m.alone.Store(m.living == 0)
	for node, known := range m.known {
		switch {
		case known.lost || now.Sub(known.heard) < lossPeriod:
		case known.leaving:
			m.leave(node, known)
		default:
			m.lose(node, known)
			lost = append(lost, Change{node, known.incarnation, Lost})
		}
	}
	return lost
}

// settled reports whether this node has heard its broker for long enough to know who lives. The
// caller holds the mutex.
func (m *members) settled(now time.Time) bool {
	return !m.connected.IsZero() && now.Sub(m.connected) >= lossPeriod
}

// tell calls notify with the changes that have not been told.
func (m *members) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.telling {
		return // whoever tells goes on
	}
	m.telling = true
	for len(m.changes) > 0 {
		change := m.changes[0]
		m.changes = m.changes[1:]
		m.mu.Unlock()
		m.notify(change)
		m.mu.Lock()
	}
	m.changes, m.telling = nil, false
}

// isDeclaredLost reports whether a node that says so means this incarnation, which is not so young
// that it can hardly be true: then anybody could make this node start over and over.
func (m *members) isDeclaredLost(incarnation string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return incarnation == m.incarnation && time.Since(m.since) >= lossPeriod
}

// isAway reports whether this node has not heard itself for long: its broker is away, or its
// subscription.
func (m *members) isAway() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected.IsZero() && time.Since(m.heard) > awayAfter
}

// declaredLost records that this node has been declared lost, and has taken another incarnation.
func (m *members) declaredLost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, Change{m.node, m.incarnation, DeclaredLost})
}

// version returns the newest version that all nodes speak. A node that does not know yet who lives
// speaks the oldest.
func (m *members) version(own int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.settled(time.Now()) {
		return minVersion
	}
	for _, known := range m.known {
		if !known.lost {
			own = min(own, known.speaks)
		}
	}
	return own
}

// tagged returns the name of the only living member that has a tag.
func (m *members) tagged(tag string) (node string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, known := range m.known {
		switch {
		case known.lost || known.tag != tag || tag == "":
		case ok:
			return "", false
		default:
			node, ok = name, true
		}
	}
	return node, ok
}

// count returns how many members live.
func (m *members) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.living
}

// list returns the living members, sorted by their names.
func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	living := make([]Member, 0, m.living)
	for _, node := range slices.SortedFunc(maps.Keys(m.known), strings.Compare) {
		if known := m.known[node]; !known.lost {
			living = append(living, Member{node, known.incarnation, known.tag, known.leaving})
		}
	}
	return living
}
