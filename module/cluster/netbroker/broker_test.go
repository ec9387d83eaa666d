package netbroker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
)

func TestContract(t *testing.T) {
	clustertest.Run(t, func(_ testing.TB, n int) []cluster.Broker { return newSystem().brokers(Options{Queue: 2000}, n) })
}

func TestFaults(t *testing.T) {
	clustertest.RunFaults(t, func(_ testing.TB, n int) ([]cluster.Broker, clustertest.Faults) {
		s := newSystem()
		return s.brokers(Options{}, n), clustertest.Faults{Interrupt: s.stop, Restore: s.start}
	})
}

// A testBed has two brokers, of which the second is subscribed to "topic".
type testBed struct {
	*testing.T
	*system
	brokers []cluster.Broker

	mu  sync.Mutex
	got []string
}

// within runs a test in a bubble of virtual time.
func within(t *testing.T, o Options, run func(t *testBed)) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		bed := &testBed{T: t, system: s, brokers: s.brokers(o, 2)}
		defer func() {
			for _, b := range bed.brokers {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
		run(bed)
	})
}

func (t *testBed) subscribe() cluster.Subscription {
	t.Helper()
	s, err := t.brokers[1].Subscribe(context.Background(), "topic", t.receive)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (t *testBed) receive(e cluster.Envelope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Gap {
		t.got = append(t.got, "gap")
	} else {
		t.got = append(t.got, string(e.Payload))
	}
}

// publish publishes payloads through the first broker.
func (t *testBed) publish(payloads ...string) {
	t.Helper()
	for _, payload := range payloads {
		if err := t.brokers[0].Publish(context.Background(), cluster.Envelope{Node: "n", Topic: "topic", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
}

// expect fails unless the subscription has received this by now, and nothing more.
func (t *testBed) expect(want string) {
	t.Helper()
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if got := strings.Join(t.got, " "); got != want {
		t.Fatalf("received %q, want %q", got, want)
	}
}

// A connection that looks healthy and delivers nothing is replaced within probeInterval and
// probeTimeout, and the subscription gets a gap.
func TestStarvedConnection(t *testing.T) {
	within(t, Options{}, func(t *testBed) {
		t.subscribe()
		t.publish("1")
		t.set(func() { t.starving = true })
		time.Sleep(probeInterval + probeTimeout)
		t.set(func() { t.starving = false })
		time.Sleep(maxPause)
		t.expect("1 gap")
		if n := t.dialed(); n != 4 {
			t.Errorf("dialed %d times, want 4", n)
		}
		t.publish("2")
		t.expect("1 gap 2")
	})
}

// What the system loses is found by the next envelope, or without one in two seconds.
func TestSilentLoss(t *testing.T) {
	within(t, Options{}, func(t *testBed) {
		t.subscribe()
		lose := func(payload string) {
			t.set(func() {
				t.lose = func(_ *fakeConn, f Frame) bool { return strings.HasSuffix(string(f.Bytes), payload) }
			})
		}
		lose("2")
		t.publish("1", "2", "3")
		t.expect("1 gap 3")
		lose("4")
		t.publish("4")
		t.expect("1 gap 3")
		lose("nothing")
		time.Sleep(2 * probeInterval)
		t.expect("1 gap 3 gap")
		t.publish("5")
		time.Sleep(time.Minute)
		t.expect("1 gap 3 gap 5")
	})
}

// When the publisher's connection is lost, it does not know what the system has taken. It sends that
// again, and nobody gets it twice.
func TestUnconfirmedIsSentAgain(t *testing.T) {
	within(t, Options{}, func(t *testBed) {
		t.subscribe()
		t.publish("1")
		t.set(func() { t.unanswered = 1 })
		t.publish("2")
		time.Sleep(maxPause)
		t.publish("3")
		t.expect("1 2 3")

		t.set(func() { t.unanswered, t.lose = 1, func(*fakeConn, Frame) bool { return true } })
		t.publish("4")
		t.set(func() { t.lose = nil })
		time.Sleep(maxPause)
		t.expect("1 2 3 4")
	})
}

// While the broker is away, Publish says so at once, Subscribe has a gap later, and Health and the
// log say why.
func TestAway(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	within(t, Options{Logger: zap.New(core)}, func(t *testBed) {
		t.stop()
		t.subscribe()
		err := t.brokers[0].Publish(context.Background(), cluster.Envelope{Topic: "topic"})
		if !errors.Is(err, cluster.ErrUnavailable) || !errors.Is(err, errDown) {
			t.Errorf("publishing: %v", err)
		}
		for _, b := range t.brokers {
			if err := b.(cluster.HealthReporter).Health(); !errors.Is(err, errDown) {
				t.Errorf("health: %v", err)
			}
		}
		dials := t.dialed()
		time.Sleep(time.Minute)
		if n := t.dialed() - dials; n < 2*60 || n > 4*60 { // two brokers, a pause between maxPause/2 and maxPause
			t.Errorf("dialed %d times in a minute", n)
		}
		t.start()
		time.Sleep(maxPause)
		t.expect("gap")
		t.publish("1")
		t.expect("gap 1")
		if err := t.brokers[0].(cluster.HealthReporter).Health(); err != nil {
			t.Errorf("health: %v", err)
		}
	})
	var lines []string
	for _, line := range logs.All() {
		lines = append(lines, line.Message)
	}
	slices.Sort(lines)
	lost, again := "connection to the broker is lost: this node and others do not hear of one another", "connection to the broker is back"
	if want := []string{again, again, lost, lost}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
}

func TestRequired(t *testing.T) {
	within(t, Options{Required: true}, func(t *testBed) {
		t.stop()
		if _, err := t.brokers[1].Subscribe(context.Background(), "topic", t.receive); !errors.Is(err, errDown) {
			t.Errorf("subscribing: %v", err)
		}
	})
	within(t, Options{Required: true}, func(t *testBed) {
		t.subscribe()
		t.stop()
		time.Sleep(time.Minute)
		if _, err := t.brokers[1].Subscribe(context.Background(), "other", t.receive); err != nil {
			t.Errorf("subscribing later: %v", err)
		}
		t.start()
		time.Sleep(maxPause)
	})
}

// However many subscriptions a topic has, the system has one.
func TestSubscribedOnce(t *testing.T) {
	within(t, Options{}, func(t *testBed) {
		first, second := t.subscribe(), t.subscribe()
		first.Close()
		synctest.Wait()
		second.Close()
		synctest.Wait()
		third := t.subscribe()
		third.Close()
		synctest.Wait()
		if got := strings.Join(t.subscribed, " "); got != "topic -topic topic -topic" {
			t.Errorf("subscribed %s", got)
		}
		if b := t.brokers[1].(*Broker); len(b.topics) != 0 || len(b.changed) != 0 || len(b.subscriptions) != 0 {
			t.Errorf("%d topics, %d changes and %d subscriptions are left", len(b.topics), len(b.changed), len(b.subscriptions))
		}
	})
}

// What others publish to a topic is refused and logged.
func TestForeignFrames(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	within(t, Options{Logger: zap.New(core)}, func(t *testBed) {
		t.subscribe()
		t.set(func() {
			for c := range t.conns {
				c.handler.Receive("topic", []byte("hello"))
				c.handler.Receive("nobody's", []byte("hello"))
			}
		})
		t.publish("1")
		t.expect("1")
	})
	if logs.FilterMessageSnippet("something else").Len() == 0 {
		t.Error("nothing is logged")
	}
}

func TestTooLarge(t *testing.T) {
	within(t, Options{}, func(t *testBed) {
		t.maxFrame = 1000
		t.subscribe()
		t.publish("1")
		err := t.brokers[0].Publish(context.Background(), cluster.Envelope{Topic: "topic", Payload: make([]byte, 1000)})
		if err == nil || !strings.Contains(err.Error(), "the server takes 1000 at most") {
			t.Errorf("publishing: %v", err)
		}
		t.publish("2")
		t.expect("1 2")
	})
}

// A publisher that does not get room returns when ctx is done.
func TestPublishWaitsForRoom(t *testing.T) {
	p := newPublisher()
	p.connected(0)
	ctx, cancel := context.WithCancel(context.Background())
	for range maxUnconfirmed {
		if err := p.publish(ctx, cluster.Envelope{Topic: "topic"}); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error)
	go func() { result <- p.publish(ctx, cluster.Envelope{Topic: "topic"}) }()
	p.confirm(1)
	if err := <-result; err != nil {
		t.Error(err)
	}
	go func() { result <- p.publish(ctx, cluster.Envelope{Topic: "topic"}) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A topic that was forgotten goes on above the numbers that it had.
func TestForgottenSequences(t *testing.T) {
	p := newPublisher()
	p.connected(0)
	p.sweep = 10
	last := func(topic string) uint64 {
		p.queue, p.bytes = nil, 0
		if err := p.publish(context.Background(), cluster.Envelope{Topic: topic}); err != nil {
			t.Fatal(err)
		}
		return p.sequences[topic].last
	}
	last("first")
	before := last("first")
	for i := range 30 {
		p.tick()
		p.tick()
		last(strconv.Itoa(i))
	}
	if p.sequences["first"] != nil {
		t.Error("nothing was forgotten")
	}
	if after := last("first"); after <= before {
		t.Errorf("number %d came after %d", after, before)
	}
}

// Whoever can publish can make up publishers, but not any number of them.
func TestSendersAreBounded(t *testing.T) {
	top := &topic{subscribed: true}
	for i := range 2 * maxSenders {
		top.receive(frame{publisher: uint64(i), sequence: 1})
	}
	if len(top.senders) != maxSenders {
		t.Errorf("%d senders are remembered, want %d", len(top.senders), maxSenders)
	}
}

func BenchmarkReceive(b *testing.B) {
	broker := New(newSystem().dial, Options{})
	defer broker.Close()
	if _, err := broker.Subscribe(context.Background(), "topic", func(cluster.Envelope) {}); err != nil {
		b.Fatal(err)
	}
	sequence := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		broker.receive("topic", appendEnvelope(nil, 1, sequence, "node", []byte("payload")))
	}
}
