package outbox

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A client is a Holder of a budget.
type client struct {
	name   string
	out    *Outbox
	wire   *wire
	ending func(*client)
}

func (c *client) Held() (int, time.Duration) { return c.out.Held() }

func (c *client) Evict() { c.ending(c) }

// A testBudget is a budget with its clients.
type testBudget struct {
	budget *Budget

	mu      sync.Mutex
	clients []*client
	evicted []string
}

func newTestBudget(most int64) *testBudget {
	p := &testBudget{budget: NewBudget(most)}
	p.budget.Watch(func() (all []Holder) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.clients {
			all = append(all, c)
		}
		return all
	})
	return p
}

func (p *testBudget) join(name string) *client {
	c := &client{name: name, ending: p.leave}
	c.out, c.wire = stalled(1_000_000, p.budget)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = append(p.clients, c)
	return c
}

func (p *testBudget) leave(c *client) {
	p.mu.Lock()
	p.clients = slices.DeleteFunc(p.clients, func(other *client) bool { return other == c })
	p.evicted = append(p.evicted, c.name)
	p.mu.Unlock()
	c.out.Cut()
}

func (p *testBudget) end(t *testing.T, all ...*client) {
	t.Helper()
	p.budget.Close()
	for _, c := range all {
		close(c.wire.gate)
		finish(t, c.out)
	}
	if n := p.budget.Used(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}

// TestBudget: what is queued is counted, with the cost of keeping it, for as long as it is
// queued.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestBudget(1 << 30)
		check := func(what string, want int64) {
			t.Helper()
			synctest.Wait()
			if got := p.budget.Used(); got != want {
				t.Errorf("%s: %d bytes are held, want %d", what, got, want)
			}
		}
		a, b, c, d := p.join("a"), p.join("b"), p.join("c"), p.join("d")
		send := func(c *client, chunks ...[]byte) {
			t.Helper()
			if err := c.out.Send(chunks...); err != nil {
				t.Error(err)
			}
		}
		send(a, make([]byte, 1000))
		check("one", 1000+chunkOverhead)
		send(a, make([]byte, 10), make([]byte, 20))
		check("two more", 1030+3*chunkOverhead)
		a.wire.gate <- struct{}{}
		check("one is written", 30+2*chunkOverhead)
		a.wire.gate <- struct{}{}
		check("all are", 0)

		shared, chunks := &Shared{Size: 5000}, [][]byte{make([]byte, 2000), make([]byte, 3000)}
		for _, c := range []*client{a, b, c, d} {
			if err := c.out.SendShared(nil, shared, chunks...); err != nil {
				t.Error(err)
			}
		}
		check("shared", 5000+8*chunkOverhead)
		a.wire.gate <- struct{}{}
		check("one has it", 5000+6*chunkOverhead)
		b.out.Cut()
		check("one is cut off", 5000+4*chunkOverhead)
		c.out.mu.Lock()
		_ = c.out.fail(errors.New("broken"))
		c.out.mu.Unlock()
		check("one is broken", 5000+2*chunkOverhead)
		send(d, make([]byte, 100))
		check("behind it", 5100+3*chunkOverhead)
		d.out.Finish(nil, true)
		check("of the last, what is being written is left", 5000+2*chunkOverhead)
		p.end(t, a, b, c, d)
	})
}

// TestBudgetHeldBack: what only waits for the end of a batch, and is then taken, is not
// counted.
func TestBudgetHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1)
		w := new(wire)
		o, _ := withKernel(w, 1000, nil)
		o.budget = budget
		var batch Batch
		batch.Open()
		_ = o.SendIn(&batch, []byte("held back"))
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes", n)
		}
		batch.Close()
		if n := budget.Used(); n != 0 || string(w.written()) != "held back" {
			t.Errorf("then %d bytes, %q", n, w.written())
		}
		finish(t, o)
		budget.Close()
	})
}

// TestEvict: if too much is held, the clients are ended that have taken nothing for
// longest, and of these the largest. Clients that read, or hold little, stay.
func TestEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestBudget(1_000_000)
		var all []*client
		join := func(name string, size int) {
			t.Helper()
			c := p.join(name)
			all = append(all, c)
			if err := c.out.Send(make([]byte, size)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		join("stalled, small", 1000)
		join("stalled", 200_000)
		join("stalled, large", 300_000)
		pass(10 * time.Second)
		join("reading, large", 400_000)
		if len(p.evicted) != 0 {
			t.Fatalf("%v were ended early", p.evicted)
		}
		join("reading", 200_000) // too much
		if want := []string{"stalled, large"}; !slices.Equal(p.evicted, want) {
			t.Errorf("%v were ended, not %v", p.evicted, want)
		}
		p.evicted = nil
		join("reading, too", 300_000)
		if want := []string{"stalled"}; !slices.Equal(p.evicted, want) {
			t.Errorf("then %v were ended, not %v", p.evicted, want)
		}
		p.end(t, all...)
	})
}

// TestEvictNobody: while no client can be ended, nobody waits, and the budget does not
// spin. Close ends its goroutine.
func TestEvictNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1000)
		var looked atomic.Int64
		budget.Watch(func() []Holder { looked.Add(1); return nil })
		budget.Add(2000)
		pass(time.Second)
		budget.Add(-2000)
		pass(time.Second)
		if n := looked.Load(); n == 0 || n > int64(time.Second/pause)+1 {
			t.Errorf("looked %d times", n)
		}
		budget.Add(2000)
		start := time.Now()
		budget.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("the end took %v", took)
		}
	})
}

// TestEvictRace: clients come, read, and are ended while others send.
func TestEvictRace(t *testing.T) {
	p := newTestBudget(200_000)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for n := range 50 {
				c := p.join(fmt.Sprint(i, n))
				if n%2 == 0 {
					close(c.wire.gate) // this one reads
				}
				for range 20 {
					_ = c.out.Send(make([]byte, 5000))
				}
				c.out.Finish(nil, true)
				if n%2 != 0 {
					close(c.wire.gate)
				}
				finish(t, c.out)
				p.mu.Lock()
				p.clients = slices.DeleteFunc(p.clients, func(other *client) bool { return other == c })
				p.mu.Unlock()
			}
		})
	}
	running.Wait()
	p.budget.Close()
	if n := p.budget.Used(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}
