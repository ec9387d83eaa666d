package replica

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Nodes learn what others have, and what changes: half a second later.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{})
		a, b := c.join("a", "one", "two"), c.join("b")
		pass(settled)
		expect(t, "a's table at b", b.copyOfNode("a"), "one=one two=two")
		expect(t, "b's table at a", a.copyOfNode("b"), "")
		a.set("one", "1", "two", "", "three", "3")
		b.set("one", "other")
		pass(flushInterval)
		expect(t, "a's table at b", b.copyOfNode("a"), "one=1 three=3")
		expect(t, "b's table at a", a.copyOfNode("b"), "one=other")
		expect(t, "one at b", text(b.Values("one")), "a=1")
		expect(t, "all is known", b.Complete(), true)
		late := c.join("late")
		expect(t, "all is known", b.Complete(), true)
		pass(time.Second)
		expect(t, "late knows all", late.Complete(), true)
		expect(t, "one at late", text(late.Values("one")), "a=1 b=other")
		a.leave()
		synctest.Wait()
		expect(t, "a's table at b", b.copyOfNode("a"), "none")
	})
}

// Only what differs is sent again, and a table of any size arrives.
func TestLargeTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{})
		a := c.join("a")
		long := strings.Repeat("x", 500)
		for _, name := range names(20_000) {
			a.values[name] = long
		}
		b := c.join("b")
		pass(settled)
		expect(t, "all is known", b.Complete(), true)
		expect(t, "a's table at b is a's", b.copyOfNode("a") == a.table(), true)
		_, before := a.link.traffic()
		b.link.set(func(l *link) { l.cut = true })
		for i, name := range names(20_000) {
			if i%1000 == 0 {
				a.set(name, "changed")
			}
		}
		pass(time.Second)
		b.link.set(func(l *link) { l.cut = false })
		pass(settled)
		expect(t, "a's table at b is a's", b.copyOfNode("a") == a.table(), true)
		if _, sent := a.link.traffic(); sent-before > 1<<20 {
			t.Errorf("%d bytes were sent again", sent-before)
		}
	})
}

// Updates, answers and requests get lost, and nodes come and go. Once that ends, all nodes agree.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := newTestCluster(t, Options[string, string]{})
			var nodes []*node
			number := 0
			join := func() {
				number++
				n := c.join(fmt.Sprint("node ", number), names(random.IntN(100))...)
				dice := rand.New(rand.NewPCG(seed, uint64(number)))
				n.link.set(func(l *link) { l.loses = func(cluster.Envelope) bool { return dice.IntN(5) == 0 } })
				nodes = append(nodes, n)
			}
			for range 3 {
				join()
			}
			for range 300 {
				i := random.IntN(len(nodes))
				n := nodes[i]
				switch action := random.IntN(100); {
				case action < 80:
					key := fmt.Sprint("key ", random.IntN(150))
					n.set(key, []string{"", "x", strconv.Itoa(random.IntN(1000))}[random.IntN(3)])
				case action < 95:
					pass(time.Duration(random.IntN(1500)) * time.Millisecond)
				case action < 97 && len(nodes) < 6:
					join()
				case action < 98 && len(nodes) > 2:
					n.kill()
					nodes = append(nodes[:i], nodes[i+1:]...)
				case len(nodes) > 2:
					n.leave()
					nodes = append(nodes[:i], nodes[i+1:]...)
				}
			}
			for _, n := range nodes {
				n.link.set(func(l *link) { l.loses = nil })
			}
			pass(3 * settled)
			for _, n := range nodes {
				expect(t, "all is known", n.Complete(), true)
				for _, other := range nodes {
					if other != n {
						expect(t, other.bus.Node()+" at "+n.bus.Node(), n.copyOfNode(other.bus.Node()), other.table())
					}
				}
				copies, bytes, counted := n.holds()
				expect(t, "copies", copies, len(nodes)-1)
				expect(t, "bytes", counted, bytes)
			}
		})
	}
}

// Copies have a bound. What is left out is not asked for over and over.
func TestMaxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, Options[string, string]{MaxBytes: 1000})
		a, b := c.join("a", names(1000)...), c.join("b")
		pass(settled)
		expect(t, "all is known", b.Complete(), false)
		if _, bytes, _ := b.holds(); bytes < 900 || bytes > 1000 {
			t.Errorf("copies have %d bytes", bytes)
		}
		before, _ := a.link.traffic()
		pass(20 * digestInterval)
		if after, _ := a.link.traffic(); after-before > 21 {
			t.Errorf("%d messages", after-before)
		}
	})
}
