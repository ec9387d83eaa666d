package engineio

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A client that polls can take nothing between two GETs, and nobody can see how much of
// the last answer it has read. So it may take nothing for Options.PingTimeout, as long as
// it may leave a ping unanswered, while more than Options.MaxQueue waits for it.
// outbox.SlowDetector has the other limits.

func (p *polling) send(g *PacketGroup, _ *Batch) error {
	if p.kept > 0 && p.tooSlow(g.cost()) {
		return outbox.ErrFull
	}
	p.push(g)
	return nil
}

func (p *polling) push(g *PacketGroup) {
	if p.kept == 0 && len(p.answers) == 0 {
		p.slowness.Progressed()
	}
	p.queue = append(p.queue, g)
	p.size += g.size
	p.kept += g.cost()
	g.hold(p.server.budget)
	p.watch()
	p.wake()
}

// clear empties the queue and returns what was in it.
func (p *polling) clear() (queue []*PacketGroup) {
	queue = p.queue
	for _, g := range queue {
		g.drop(p.server.budget)
	}
	p.queue, p.size, p.kept = nil, 0, 0
	return queue
}

func (p *polling) forgotten() { p.clear() }

// take empties the queue and returns what was in it. A close comes only once the queue is
// empty.
func (p *polling) take() []*PacketGroup {
	p.peerClosed = false
	if len(p.queue) == 0 && p.closing {
		p.closing = false
		if p.late {
			return []*PacketGroup{lateCloseGroup}
		}
		return []*PacketGroup{closeGroup}
	}
	return p.clear()
}

func (p *polling) fits(groups []*PacketGroup) bool {
	room := p.server.limit() - p.kept
	for _, g := range groups {
		room -= g.cost()
	}
	return room >= 0
}

// fitsAll counts packets as a WebSocket does, since they all leave with the next GET. What
// a client has missed must not depend on its transport. outbox.SlowDetector bounds what
// the packets cost in addition to their data.
func (p *polling) fitsAll(groups []*PacketGroup) bool {
	room := p.server.limit() - p.size
	for _, g := range groups {
		room -= g.size
	}
	return room >= 0
}

func (p *polling) queued() int {
	n := p.size
	for _, a := range p.answers {
		n += a.size
	}
	return n
}

func (p *polling) held() (bytes int, stalled time.Duration) {
	if bytes = p.total(); bytes > 0 {
		stalled = p.slowness.Since()
	}
	return bytes, stalled
}

// total returns how many bytes are held for the client.
func (p *polling) total() int {
	n := p.kept
	for _, a := range p.answers {
		n += a.kept
	}
	return n
}

func (p *polling) onSlow(f func()) { p.slow = f }

func (p *polling) isSlow() bool {
	p.slowness.Stop()
	if p.slowness.Stalled(p.total(), p.server.limit(), p.patience(), nil) {
		return true
	}
	p.watch()
	return false
}

func (p *polling) tooSlow(more int) bool {
	return p.slowness.TooSlow(p.total()+more, p.server.limit(), p.patience(), nil)
}

func (p *polling) watch() {
	p.slowness.Watch(p.total(), p.server.limit(), p.patience(), p.slow)
}

func (p *polling) patience() time.Duration {
	return max(outbox.Patience, p.server.options().PingTimeout)
}
