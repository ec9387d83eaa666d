package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b, d := c.join("a"), c.join("b"), c.join("d")
		if err := b.Watch(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		for topic, want := range map[Topic][3]string{
			All:             {"", "a 1, a 2", "a 1, a 2"},
			NodeTopic("d"):  {"", "", "a 1, a 2"},
			NodeTopic("a"):  {"", "", ""},
			ShardTopic(7):   {"", "a 1, a 2", ""},
			ShardTopic(8):   {"", "", ""},
			NodeTopic("no"): {"", "", ""},
		} {
			a.say(t, topic, "1", "2")
			synctest.Wait()
			for i, n := range []*testNode{a, b, d} {
				expect(t, fmt.Sprint(topic, " at ", n.Node()), n.texts(), want[i])
			}
		}
		// Each topic has its copy.
		if err := a.Publish("text", []byte("copies"), false, All, ShardTopic(7), ShardTopic(8)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		expect(t, "copies", b.texts(), "a copies, a copies")
		expect(t, "gaps", b.gapCount()+d.gapCount(), 0)
		expect(t, "published", a.Stats().Published, 15)
	})
}

// Buses of different hubs have nothing to do with each other, whatever their names are.
func TestHubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		var buses []*Bus
		for _, hub := range []string{"a", "a/node", "all", "a/all", "A", "a%2Fnode"} {
			b, err := Open(Options{Broker: broker.Peer(), Hub: hub, Node: "node of " + hub})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			buses = append(buses, b)
		}
		pass(3 * time.Second)
		for _, b := range buses {
			expect(t, b.node, len(b.Members()), 0)
		}
		for _, names := range [][2]string{{"", "node"}, {"hub", ""}, {strings.Repeat("h", 251), "node"}, {"hub", strings.Repeat("n", 251)}} {
			if _, err := Open(Options{Broker: broker, Hub: names[0], Node: names[1]}); err == nil {
				t.Errorf("%q are accepted", names)
			}
		}
		long, err := Open(Options{Broker: broker.Peer(), Hub: strings.Repeat("/", 250), Node: strings.Repeat("n", 250)})
		if err != nil {
			t.Fatal(err)
		}
		long.Close()
	})
}

// The shard of a room must be the same in all versions.
func TestShard(t *testing.T) {
	for room, want := range map[[2]string]int{{"/", "lobby"}: 15829, {"/", ""}: 15517, {"/admin", "lobby"}: 4567, {"/a", "b"}: 563} {
		expect(t, fmt.Sprint(room), Shard(room[0], room[1]), want)
	}
	counts := make(map[int]int)
	for i := range 10 * Shards {
		counts[Shard("/", fmt.Sprint("room:", i))]++
	}
	for shard, n := range counts {
		if shard < 0 || shard >= Shards || n > 40 {
			t.Errorf("%d rooms are in shard %d", n, shard)
		}
	}
	if len(counts) < Shards*99/100 {
		t.Errorf("only %d shards are used", len(counts))
	}
}

// What is wrong is refused and counted, and logged at a bounded rate.
func TestInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestCluster(t).join("a")
		header := func(more string) string { return `{"v":1,"kind":"text","incarnation":"i","seq":1` + more + "}\n" }
		invalid := []string{
			"", "\n", "{}", "{}\n", "null\n", "[]\n", "1\n", "{", header(""), // valid, but for its body below
			strings.TrimSuffix(header(""), "\n"), header(`,"part":-1`), header(`,"timeout":-1`), header(`,"v":0`), header(`,"v":"1"`),
			header(`,"seq":0`), header(`,"seq":-1`), header(`,"seq":"1"`), header(`,"kind":""`), header(`,"kind":"` + strings.Repeat("k", 65) + `"`),
			header(`,"incarnation":"` + strings.Repeat("i", 65) + `"`), header(`,"request":"` + strings.Repeat("i", 65) + `"`),
			header(`,"more":true,"x":"` + strings.Repeat("x", maxHeader) + `"`), "\x00\xff\n",
			header(`,"kind":"heartbeat"`), header(`,"kind":"leave"`), header(`,"kind":"declared-lost"`), header(`,"kind":"heartbeat"`) + "[]",
		}
		for i, payload := range invalid {
			if payload == header("") {
				payload += "invalid"
			}
			n.take(All, cluster.Envelope{Node: fmt.Sprint("node ", i), Payload: []byte(payload)})
			expect(t, fmt.Sprintf("invalid after %q", payload), n.Stats().Invalid, uint64(i+1))
		}
		n.take(All, cluster.Envelope{Node: strings.Repeat("n", 251), Payload: []byte(header(""))})
		expect(t, "invalid", n.Stats().Invalid, uint64(len(invalid)+1))
		expect(t, "logged", n.logs.FilterMessage("broker delivered an invalid message").Len(), 1)
		pass(2 * time.Second)
		expect(t, "logged", n.logs.FilterMessage("broker delivered an invalid message").Len(), 2)

		for i, payload := range []string{header(`,"v":2`), header(`,"kind":"unknown"`), header(`,"v":2,"kind":7`)} {
			n.take(All, cluster.Envelope{Node: "other", Payload: []byte(payload)})
			expect(t, fmt.Sprintf("unknown after %q", payload), n.Stats().Unknown, uint64(i+1))
		}
		expect(t, "received", n.texts(), "")
	})
}

// A broker that delivers anything from any number of nodes does not make a node hold much.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestCluster(t).join("a")
		for i := range 3 * maxMembers {
			node := fmt.Sprint("node ", i)
			n.take(All, cluster.Envelope{Node: node, Payload: []byte(`{"v":1,"kind":"text","incarnation":"i","seq":5}` + "\n")})
			n.take(All, cluster.Envelope{Node: node, Payload: []byte(`{"v":1,"kind":"heartbeat","incarnation":"i","seq":5}` + "\n" + `{"last":{"all":9,"shard/1":5,"x":7}}`)})
		}
		expect(t, "members", len(n.Members()), maxMembers)
		expect(t, "senders", len(n.tracker.topics[All]), maxSenders)
		expect(t, "tracked", n.tracker.all, maxSenders)
		expect(t, "topics", len(n.tracker.topics), 2)
		pass(time.Minute)
		expect(t, "members", len(n.Members()), 0)
		expect(t, "awaited", len(n.tracker.awaited), 0)
		// Those that were lost make room for others.
		n.take(All, cluster.Envelope{Node: "new", Payload: []byte(`{"v":1,"kind":"heartbeat","incarnation":"i","seq":5}` + "\n{}")})
		expect(t, "members", n.memberNames(), "new")
	})
}

// Two versions run together.
func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		newer := c.joinAs("newer", 2, Options{})
		newest := c.joinAs("newest", 3, Options{})
		expect(t, "before it knows who lives", newest.Version(), 1)
		pass(10 * time.Second)
		expect(t, "of 2 and 3", newest.Version(), 2)
		newest.say(t, All, "in version 2")
		synctest.Wait()
		expect(t, "received", newer.texts(), "newest in version 2")

		old := c.join("old")
		synctest.Wait()
		expect(t, "of 1 and 3", newest.Version(), 1)
		newest.say(t, All, "in version 1")
		synctest.Wait()
		old.say(t, All, "from old")
		synctest.Wait()
		expect(t, "received", old.texts(), "newest in version 1")
		expect(t, "received", newer.texts(), "newest in version 1, old from old")
		expect(t, "unknown", old.Stats().Unknown, 0)

		// A node that does not know yet that an old one has come speaks as before. It is skipped, and
		// the gap is found.
		if err := newest.add(All, header{Version: 2, Kind: "text"}, []byte("too new"), false); err != nil {
			t.Error(err)
		}
		newest.say(t, All, "next")
		synctest.Wait()
		expect(t, "received", old.texts(), "newest next")
		expect(t, "unknown", old.Stats().Unknown, 1)
		expect(t, "gaps", old.gapCount(), 1)
		expect(t, "received", newer.texts(), "newest too new, newest next")

		old.Close()
		pass(time.Second)
		expect(t, "of 2 and 3 again", newest.Version(), 2)
		expect(t, "gaps", newer.gapCount()+newest.gapCount(), 0)
	})
}

// A broker refuses the subscriptions.
func TestOpenFails(t *testing.T) {
	broker := membroker.New(membroker.Options{})
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Broker: broker, Hub: "hub", Node: "node"}); !errors.Is(err, cluster.ErrClosed) {
		t.Error(err)
	}
}

// FuzzTake gives a bus anything that a broker may deliver.
func FuzzTake(f *testing.F) {
	for _, sample := range []string{
		`{"v":1,"kind":"text","incarnation":"i","seq":1}` + "\nbody",
		`{"v":1,"kind":"heartbeat","incarnation":"i","seq":1}` + "\n" + `{"speaks":1,"last":{"all":3,"shard/7":1},"gap":true,"leaving":true}`,
		`{"v":1,"kind":"leave","incarnation":"i","seq":1}` + "\n{}",
		`{"v":1,"kind":"declared-lost","incarnation":"i","seq":1}` + "\n" + `{"node":"here","incarnation":"i"}`,
		`{"v":1,"kind":"answer","incarnation":"i","seq":1,"request":"r","part":1,"more":true,"error":"e"}` + "\n",
		`{"v":1,"kind":"ask","incarnation":"i","seq":18446744073709551615,"request":"r","timeout":9223372036854775807}` + "\n",
		`{"v":2}` + "\n", "", "\n",
	} {
		f.Add("all", "there", sample)
		f.Add("node/here", "there", sample)
		f.Add("all", "here", sample)
	}
	n := newTestCluster(f).join("here")
	n.Answer("ask", func(context.Context, Request) ([]byte, error) { return nil, nil })
	f.Fuzz(func(t *testing.T, topic, node, payload string) {
		before := n.Stats()
		n.take(Topic(topic), cluster.Envelope{Node: node, Topic: topic, Payload: []byte(payload)})
		n.gapCount()
		n.events()
		if texts := n.texts(); texts != "" && (node == "here" || n.Stats().Invalid != before.Invalid) {
			t.Errorf("received %q", texts)
		}
		h, body, err := parseHeader([]byte(payload), maxVersion)
		if err != nil {
			return
		}
		again, rest, err := parseHeader(append(h.append(nil), body...), maxVersion)
		if err == nil && (again.Sequence != h.Sequence || again.Part != h.Part || again.More != h.More || string(rest) != string(body)) {
			t.Errorf("%+v became %+v", h, again)
		}
	})
}
