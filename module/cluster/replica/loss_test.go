package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const holders = 2

// lossTime is how long it takes until somebody has acted for a lost node.
const lossTime = 8 * time.Second

// Two of the other nodes have a copy. When the node is lost, one of them acts.
func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a := c.join("a", "one", "two")
		others := []*node{c.join("b"), c.join("c"), c.join("d"), c.join("e")}
		pass(settled)
		with := func() (n int) {
			for _, other := range others {
				if other.copyOfNode("a") == a.table() {
					n++
				}
			}
			return n
		}
		expect(t, "copies", with(), holders)
		for range 5 { // who had a copy before and has none any more
			others = append(others, c.join(fmt.Sprint("late ", len(others))))
			pass(2 * time.Second)
			expect(t, "copies", with(), holders)
		}
		a.set("three", "3", "one", "")
		pass(flushInterval)
		expect(t, "copies", with(), holders)
		a.kill()
		pass(lossTime)
		expect(t, "what was done", allOf(others), "a: three=3 two=two")
		pass(time.Minute)
		expect(t, "what was done", allOf(others), "a: three=3 two=two")
		for _, other := range others {
			_, _, bytes := other.holds()
			expect(t, "bytes that are left", bytes, 0)
		}
	})
}

func allOf(nodes []*node) string {
	var all []string
	for _, n := range nodes {
		n.mu.Lock()
		all = append(all, n.acted...)
		n.mu.Unlock()
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// A node that leaves has said so: nobody acts.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a, b := c.join("a", "one"), c.join("b")
		pass(settled)
		a.leave()
		pass(time.Minute)
		expect(t, "what was done", allOf([]*node{b}), "")
		_, _, bytes := b.holds()
		expect(t, "bytes that are left", bytes, 0)
	})
}

// A node that acts may take its time for it. Nobody else acts meanwhile.
func TestSlowLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a := c.join("a", "one")
		others := []*node{c.join("b"), c.join("c"), c.join("d")}
		for _, n := range others {
			n.slow = 5 * time.Second
		}
		pass(settled)
		a.kill()
		pass(time.Minute)
		expect(t, "what was done", allOf(others), "a: one=one")
	})
}

// A node has acted, and is lost at once. What it had taken over is not.
func TestActorLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a := c.join("a", "one")
		others := []*node{c.join("b"), c.join("c"), c.join("d"), c.join("e")}
		for _, n := range others {
			n.adopts = true
		}
		pass(settled)
		a.kill()
		for allOf(others) == "" {
			pass(10 * time.Millisecond)
		}
		i := slices.IndexFunc(others, func(n *node) bool { return n.did(&n.acted) != "" })
		actor := others[i]
		others = slices.Delete(others, i, i+1)
		actor.kill()
		pass(2 * lossTime)
		expect(t, "what was done", allOf(others), actor.bus.Node()+": one=one")
	})
}

// The first holder is lost with the node. The second one acts, for both if it has both copies.
func TestTwoLost(t *testing.T) {
	for _, delay := range []time.Duration{0, 4 * time.Second, 5900 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestCluster(t, Options[string, string]{Holders: holders})
			nodes := map[string]*node{"a": c.join("a", "one"), "b": c.join("b"), "c": c.join("c"), "d": c.join("d"), "e": c.join("e")}
			pass(settled)
			first := holdersOf(nodes["a"].bus.Incarnation(), nodes["a"].bus.Members(), holders)[0]
			nodes["a"].kill()
			delete(nodes, "a")
			pass(delay)
			nodes[first].kill()
			delete(nodes, first)
			pass(2 * lossTime)
			var others []*node
			for _, n := range nodes {
				others = append(others, n)
			}
			if got := allOf(others); got != "a: one=one; "+first+": " && got != first+": " && got != "a: one=one" {
				t.Errorf("after %v: %q", delay, got)
			}
			if delay < 5*time.Second && !strings.HasPrefix(allOf(others), "a: one=one") {
				t.Errorf("after %v: nobody acts for a", delay)
			}
		})
	}
}

// A node is cut off for a while, and declared lost. It learns for which of its keys another one has
// acted, and that one learns which of them are there.
func TestLossByMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a := c.join("a", "one", "two", "three")
		others := []*node{c.join("b"), c.join("c")}
		pass(settled)
		incarnation := a.bus.Incarnation()
		a.link.set(func(l *link) { l.cut = true })
		pass(lossTime)
		expect(t, "what was done", allOf(others), "a: one=one three=three two=two")
		a.set("two", "")
		a.link.set(func(l *link) { l.cut = false })
		pass(settled)
		if a.bus.Incarnation() == incarnation {
			t.Fatal("a does not know that it was declared lost")
		}
		expect(t, "what a knows", a.did(&a.taken), "one, three, two")
		for _, other := range others {
			want := ""
			if other.did(&other.acted) != "" {
				want = "one, three"
			}
			expect(t, "what is back", other.did(&other.back), want)
			expect(t, "a's table", other.copyOfNode("a"), a.table())
		}
	})
}

// All lose the broker, a for ever. Nobody acts before all are connected again.
func TestBrokerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{Holders: holders})
		a := c.join("a", "one")
		others := []*node{c.join("b"), c.join("c")}
		pass(settled)
		for _, n := range append(others, a) {
			n.link.set(func(l *link) { l.cut = true })
		}
		a.kill()
		pass(time.Minute)
		expect(t, "what was done", allOf(others), "")
		for _, n := range others {
			n.link.set(func(l *link) { l.cut = false })
		}
		pass(2 * lossTime)
		expect(t, "what was done", allOf(others), "a: one=one")
	})
}
