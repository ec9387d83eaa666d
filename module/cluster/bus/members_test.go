package bus

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A node learns at once who is there, and others learn of it.
func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.join("a")
		pass(time.Minute)
		expect(t, "alone", a.memberNames(), "")
		b, d := c.join("b"), c.join("d")
		synctest.Wait()
		expect(t, "members", a.memberNames()+", "+b.memberNames()+", "+d.memberNames(), "b d, a d, a b")
		expect(t, "a was told", a.events(), "b joined, d joined")
		for range 2 {
			b.Close()
			synctest.Wait()
			expect(t, "members", a.memberNames()+", "+d.memberNames(), "d, a")
		}
		expect(t, "a was told", a.events(), "b left")
		again := c.join("b")
		synctest.Wait()
		expect(t, "a was told", a.events(), "b joined")
		pass(time.Minute)
		expect(t, "members", again.memberNames(), "a d")
		expect(t, "gaps", a.gapCount()+d.gapCount()+again.gapCount(), 0)
		for _, n := range []*testNode{a, d, again} {
			expect(t, "logged by "+n.Node(), len(n.logs.FilterMessageSnippet("lost").All()), 0)
		}
	})
}

// A node is found by its tag while it lives, unless another one has the same.
func TestTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.joinAs("a", maxVersion, Options{Tag: "A"})
		find := func(tag, want string) {
			t.Helper()
			synctest.Wait()
			node, ok := a.Tagged(tag)
			expect(t, "the node tagged "+tag, node, want)
			expect(t, "it was found", ok, want != "")
		}
		b := c.joinAs("b", maxVersion, Options{Tag: "B"})
		c.join("untagged")
		find("B", "b")
		find("A", "") // this node is not another one
		find("", "")
		twin := c.joinAs("twin", maxVersion, Options{Tag: "B"})
		find("B", "")
		b.Close()
		find("B", "twin")
		twin.link.setCut(true)
		pass(20 * time.Second)
		find("B", "")
		_, err := Open(Options{Broker: c.broker, Hub: "hub", Node: "c", Tag: strings.Repeat("x", 17)})
		expect(t, "a long tag is refused", err != nil, true)
	})
}

// A node that is silent is lost after five seconds, but not if it has said that it is leaving.
func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b, d := c.join("a"), c.join("b"), c.join("d")
		pass(10 * time.Second)
		d.Leave()
		synctest.Wait()
		expect(t, "leaving", a.Members()[1].Leaving, true)
		a.events()
		b.link.setCut(true)
		d.link.setCut(true)
		pass(4 * time.Second)
		expect(t, "after 4 s", a.events(), "")
		pass(3 * time.Second)
		expect(t, "after 7 s", a.events(), "b lost, d left")
		expect(t, "members", a.memberNames(), "")
		expect(t, "logged", a.logs.FilterMessage("node is lost").Len(), 1)
	})
}

// A node without its broker declares nobody lost, nor for a whole period after it is back. The
// others have declared it lost: it goes on in a new incarnation.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.join("a"), c.join("b")
		pass(10 * time.Second)
		a.events()
		b.events()
		incarnation := b.Incarnation()
		b.link.setCut(true)
		pass(20 * time.Second)
		expect(t, "b is away", b.Away(), true)
		expect(t, "a is away", a.Away(), false)
		expect(t, "b was told", b.events(), "")
		expect(t, "a was told", a.events(), "b lost")
		expect(t, "logged", b.logs.FilterMessageSnippet("is away").Len(), 1)

		b.link.setCut(false)
		pass(1500 * time.Millisecond)
		expect(t, "b is away", b.Away(), false)
		expect(t, "b was told", b.events(), "b declared lost")
		expect(t, "a was told", a.events(), "b joined")
		if b.Incarnation() == incarnation || a.Members()[0].Incarnation != b.Incarnation() {
			t.Errorf("incarnations: %s before, %s now, %s at a", incarnation, b.Incarnation(), a.Members()[0].Incarnation)
		}
		if a.gapCount() == 0 || b.gapCount() == 0 {
			t.Error("no gap is told")
		}
		// From now on everything is as it was.
		a.say(t, All, "1", "2")
		b.say(t, All, "3", "4")
		pass(time.Minute)
		expect(t, "a received", a.texts(), "b 3, b 4")
		expect(t, "b received", b.texts(), "a 1, a 2")
		expect(t, "told", a.events()+b.events(), "")
		expect(t, "gaps", a.gapCount()+b.gapCount(), 0)
	})
}

// Everybody's broker is away for a while. Nobody is lost, unless it does not come back.
func TestBrokerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		nodes := []*testNode{c.join("a"), c.join("b"), c.join("d")}
		pass(10 * time.Second)
		for _, n := range nodes {
			n.events()
			n.link.setCut(true)
		}
		pass(20 * time.Second)
		nodes[0].link.setCut(false)
		pass(2 * time.Second)
		expect(t, "a is away", nodes[0].Away(), false)
		nodes[1].link.setCut(false)
		pass(2 * time.Second)
		for _, n := range nodes {
			expect(t, "was told", n.events(), "")
		}
		pass(5 * time.Second)
		expect(t, "was told", nodes[0].events(), "d lost")
		expect(t, "was told", nodes[1].events(), "d lost")
		expect(t, "was told", nodes[2].events(), "")
	})
}

// A process is stopped for ten seconds. What has been waiting for it makes it declare nobody lost.
func TestStoppedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.join("a")
		c.join("b")
		pass(10 * time.Second)
		a.members.mu.Lock()
		// As though it had not run since then, but had just received its own last heartbeat.
		for _, m := range a.members.known {
			m.heard = m.heard.Add(-10 * time.Second)
		}
		a.members.checked = a.members.checked.Add(-10 * time.Second)
		a.members.mu.Unlock()
		if lost := a.members.check(a.connection.Load().heartbeats); len(lost) > 0 {
			t.Errorf("lost: %v", lost)
		}
		pass(time.Minute)
		expect(t, "was told", a.events(), "b joined")
	})
}

// A process that did not say that it leaves is followed at once by another one of the same name.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.join("a"), c.join("b")
		pass(10 * time.Second)
		b.say(t, All, "before")
		synctest.Wait()
		a.events()
		a.texts()
		b.link.setCut(true)
		again := c.join("b")
		synctest.Wait()
		expect(t, "was told", a.events(), "b joined, b lost")
		expect(t, "gaps", a.gapCount(), 1)
		again.say(t, All, "after")
		synctest.Wait()
		expect(t, "received", a.texts(), "b after")
		pass(time.Minute)
		expect(t, "was told", a.events(), "")
		expect(t, "members", again.memberNames(), "a")
		expect(t, "gaps", a.gapCount(), 0)
		expect(t, "names", a.logs.FilterMessageSnippet("name").Len(), 0)
	})
}

// Two living nodes have the same name. They and the others say so, and neither is lost over and
// over.
func TestSameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, one := c.join("a"), c.join("b")
		synctest.Wait()
		other := c.join("b")
		pass(time.Minute)
		for _, n := range []*testNode{a, one, other} {
			if n.logs.FilterMessageSnippet("a name of its own").Len() == 0 {
				t.Errorf("%s, %s: nothing is logged", n.Node(), n.Incarnation())
			}
		}
		expect(t, "was told", a.events(), "b joined, b joined, b lost")
		other.Close()
		pass(time.Minute)
		expect(t, "was told", a.events(), "b joined, b left")
		expect(t, "members", a.Members()[0].Incarnation, one.Incarnation())
	})
}

// Anybody who can publish can say that this node is lost. It does not start over each time.
func TestDeclaredLostOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.join("a")
		pass(10 * time.Second)
		for i := range 1000 {
			a.take(All, cluster.Envelope{Node: "bad", Payload: fmt.Appendf(nil, `{"v":1,"kind":"declared-lost","incarnation":"i","seq":%d}`+"\n"+`{"node":"a","incarnation":"%s"}`, i+1, a.Incarnation())})
			a.take(All, cluster.Envelope{Node: "bad", Payload: fmt.Appendf(nil, `{"v":1,"kind":"declared-lost","incarnation":"j","seq":%d}`+"\n"+`{"node":"b","incarnation":"%s"}`, i+1, a.Incarnation())})
			pass(100 * time.Millisecond)
		}
		if n := strings.Count(a.events(), "declared lost"); n == 0 || n > 20 {
			t.Errorf("started over %d times in 100 s", n)
		}
	})
}

// A node that is alone publishes nothing. Nodes that come are told that they may have missed
// something.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.join("a")
		expect(t, "alone before it can know", a.Skip(), false)
		pass(7 * time.Second)
		b := c.join("b")
		synctest.Wait()
		expect(t, "gaps of b, as nothing was skipped", b.gapCount(), 0)
		expect(t, "alone with b", a.Skip(), false)
		b.Close()
		pass(2 * time.Second)
		expect(t, "alone", a.Skip(), true)
		pass(2 * time.Second)
		b = c.join("b")
		synctest.Wait()
		expect(t, "gaps of b, as it was not there", b.gapCount(), 0)
		b.Close()
		pass(2 * time.Second)
		expect(t, "alone", a.Skip(), true)
		b = c.join("b")
		synctest.Wait()
		expect(t, "gaps of b", b.gapCount(), 1)
		expect(t, "alone with b", a.Skip(), false)
		expect(t, "gaps of a", a.gapCount(), 0)
		pass(time.Minute)
		expect(t, "gaps of b", b.gapCount(), 0)
	})
}
