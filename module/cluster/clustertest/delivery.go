package clustertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// delivery checks that an envelope arrives unchanged at the publisher's own subscription and at the
// others.
func delivery(t *trial) {
	const topic = "delivery"
	inboxes := []*inbox{t.subscribe(0, topic), t.subscribe(1, topic)}
	want := []cluster.Envelope{
		{Node: "a", Topic: topic, Payload: []byte("payload")},
		{Node: "a", Topic: topic},
		{Node: "a", Topic: topic, Payload: []byte{}},
		{Node: "", Topic: topic, Payload: []byte("of nobody")},
		{Node: "a b\r\n\x00\xffé", Topic: topic, Payload: []byte("\x00\xff\r\n\x00é")},
		{Node: "a", Topic: topic, Payload: []byte("no gap"), Gap: true},
		{Node: "a", Topic: topic, Payload: []byte(strings.Repeat(`{"json":"<&>"}`, 100))},
	}
	for _, e := range want {
		if err := t.brokers[0].Publish(context.Background(), e); err != nil {
			t.Fatalf("publishing: %v", err)
		}
	}
	if err := t.brokers[0].Publish(context.Background(), cluster.Envelope{Topic: "nobody listens"}); err != nil {
		t.Errorf("publishing where nobody listens: %v", err)
	}
	for _, in := range inboxes {
		got := t.await(in, len(want))
		for i, e := range want {
			if got[i].Node != e.Node || got[i].Topic != e.Topic || string(got[i].Payload) != string(e.Payload) || got[i].Gap {
				t.Errorf("%s: %q, %q, %.40q, gap %v; want %q, %q, %.40q and no gap",
					in.name, got[i].Node, got[i].Topic, got[i].Payload, got[i].Gap, e.Node, e.Topic, e.Payload)
			}
		}
	}
	t.closeAll()
	for _, in := range inboxes {
		if got := in.all(); len(got) != len(want) {
			t.Errorf("%s: %d envelopes, want %d", in.name, len(got), len(want))
		}
		in.expectAlone(t)
	}
}

// order checks that each publisher's envelopes arrive once and in order at every broker, while
// another publishes to the same topic.
func order(t *trial) {
	const topic, n = "order", 400
	var inboxes []*inbox
	for b := range t.brokers {
		inboxes = append(inboxes, t.subscribe(b, topic))
	}
	var publishers sync.WaitGroup
	for b := range 2 {
		publishers.Go(func() {
			for i := range n {
				if err := t.brokers[b].Publish(context.Background(), cluster.Envelope{Node: node(b), Topic: topic, Payload: number(i, 64)}); err != nil {
					t.Errorf("publishing: %v", err)
					return
				}
			}
		})
	}
	publishers.Wait()
	for _, in := range inboxes {
		t.await(in, 2*n)
	}
	t.closeAll()
	for _, in := range inboxes {
		in.expectInOrder(t, topic, n, node(0), node(1))
	}
}

// fanOut checks that each of several subscriptions of a topic receives everything once.
func fanOut(t *trial) {
	const topic, n = "fan-out", 20
	var inboxes []*inbox
	for b := range t.brokers {
		inboxes = append(inboxes, t.subscribe(b, topic), t.subscribe(b, topic))
	}
	for i := range n {
		for b := range t.brokers {
			t.publish(b, topic, number(i, 0))
		}
	}
	for _, in := range inboxes {
		t.await(in, n*len(t.brokers))
	}
	t.closeAll()
	for _, in := range inboxes {
		in.expectInOrder(t, topic, n, node(0), node(1), node(2))
	}
}

// oddTopics contain prefixes, patterns, spellings and encodings of one another, as various servers
// understand them.
var oddTopics = []string{
	"a", "aa", "ab", "A", "b", "a.b", "a.*", "a.>", "*", ">", "a*", "a?", "a[ab]", "a/b", "a:b", "a/+", "a/#", "#", "+", "?", "$", "%", "%61", "a%62",
	".", "..", ".a", "a.", "a..b", "/", "//", "/a", "a/", "../a", " ", " a", "a ", "a b", "\t", "a\n", "a\r\nb", "\x00", "a\x00", "a\x00b", "\xff", "a\xff",
	"é", "e\u0301", "É", "\ufeffa", "61", "YQ", "YQ==", `"a"`, `\u0061`, "{a}", "a,b", "a;b", "a|b", "a=b", "a-b", "a_b", "__proto__",
	strings.Repeat("t", 1024), strings.Repeat("t", 1023) + "u", strings.Repeat("t", 1023), strings.Repeat("\xff", 1024),
}

// topics checks that no subscription receives envelopes of another topic.
func topics(t *trial) {
	inboxes := make(map[string][]*inbox)
	for _, topic := range oddTopics {
		for b := range t.brokers {
			inboxes[topic] = append(inboxes[topic], t.subscribe(b, topic))
		}
	}
	const n = 2
	for i := range n {
		for _, topic := range oddTopics {
			t.publish(0, topic, number(i, 0))
		}
	}
	for _, topic := range oddTopics {
		for _, in := range inboxes[topic] {
			t.await(in, n)
		}
	}
	t.closeAll()
	for _, topic := range oddTopics {
		for _, in := range inboxes[topic] {
			in.expectInOrder(t, topic, n, node(0))
		}
	}
}

// reentrance checks that receive may publish and subscribe.
func reentrance(t *trial) {
	answers := t.subscribe(1, "answer")
	var once sync.Once
	var late *inbox
	subscribed := make(chan error, 1)
	t.subscribeFunc(0, "question", func(e cluster.Envelope) {
		once.Do(func() {
			late = newInbox("subscribed in receive")
			_, err := t.brokers[0].Subscribe(context.Background(), "answer", late.receive)
			subscribed <- err
		})
		_ = t.brokers[0].Publish(context.Background(), cluster.Envelope{Node: node(0), Topic: "answer", Payload: e.Payload})
	})
	const n = 50
	for i := range n {
		t.publish(1, "question", number(i, 0))
	}
	t.await(answers, n)
	if err := <-subscribed; err != nil {
		t.Fatalf("subscribing in receive: %v", err)
	}
	t.await(late, n)
	t.closeAll()
	answers.expectInOrder(t, "answer", n, node(0))
	late.expectInOrder(t, "answer", n, node(0))
}

// largePayloads checks that payloads of up to 1,000,000 bytes arrive complete and in order.
func largePayloads(t *trial) {
	const topic = "large"
	sizes := []int{8, 1_000_000, 100, 65_535, 65_536, 65_537, 999_999, 8}
	inboxes := []*inbox{t.subscribe(0, topic), t.subscribe(1, topic)}
	for i, size := range sizes {
		t.publish(0, topic, number(i, size))
	}
	for _, in := range inboxes {
		t.await(in, len(sizes))
	}
	t.closeAll()
	for _, in := range inboxes {
		in.expectInOrder(t, topic, len(sizes), node(0))
		for i, e := range in.all() {
			if len(e.Payload) != sizes[i] {
				t.Errorf("%s: %d bytes, want %d", in.name, len(e.Payload), sizes[i])
			}
		}
	}
}

// keptPayloads checks that a received payload stays the same when more envelopes arrive.
func keptPayloads(t *trial) {
	const topic, n = "kept", 200
	inboxes := []*inbox{t.subscribe(0, topic), t.subscribe(1, topic), t.subscribe(1, topic)}
	for i := range n {
		t.publish(0, topic, number(i, 100+i%7))
		if i%10 == 0 {
			// A broker that reuses buffers does so when their content has been delivered.
			for _, in := range inboxes {
				t.await(in, i+1)
			}
		}
	}
	for _, in := range inboxes {
		t.await(in, n)
	}
	t.closeAll()
	for _, in := range inboxes {
		for i, e := range in.all() {
			if want := number(i, 100+i%7); !slices.Equal(e.Payload, want) {
				t.Fatalf("%s: payload %d has become %s", in.name, i, fmt.Sprintf("%.20x", e.Payload))
			}
		}
	}
}
