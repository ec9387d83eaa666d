package realtime_test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestHub(t *testing.T) {
	a, b := hub(t, realtime.Options{}), hub(t, realtime.Options{Name: "b", Node: "n"})
	if a.Name() != "default" || len(a.Node()) != 22 || b.Name() != "b" || b.Node() != "n" || hub(t, realtime.Options{}).Node() == a.Node() {
		t.Errorf("hubs %q at %q and %q at %q", a.Name(), a.Node(), b.Name(), b.Node())
	}
	namespaces := make(chan *realtime.Namespace, 20)
	var running sync.WaitGroup
	for range cap(namespaces) {
		running.Go(func() { namespaces <- a.Namespace("/chat") })
	}
	running.Wait()
	close(namespaces)
	for n := range namespaces {
		if n != a.Namespace("/chat") || n == b.Namespace("/chat") || n.Name() != "/chat" || n.Hub() != a {
			t.Fatal("a namespace is there twice")
		}
	}
}

func TestStats(t *testing.T) {
	h := hub(t, realtime.Options{})
	e := open(h, realtime.Policy{Namespaces: realtime.Globs{"*"}})
	check := func(sockets, rooms int) {
		t.Helper()
		if s, r := h.Stats(); s != sockets || r != rooms {
			t.Errorf("%d sockets in %d rooms, want %d in %d", s, r, sockets, rooms)
		}
	}
	check(0, 0)
	a := join(t, e, "red", "blue")
	b := joinNamespace(t, e, "/other", "red")
	check(2, 3)
	b.Leave("red")
	check(2, 2)
	a.HandleDisconnect("done")
	check(1, 0)
	b.HandleDisconnect("done")
	check(0, 0)
}

func TestClose(t *testing.T) {
	broken := errors.New("connection lost")
	b := &fakeBroker{closeErr: broken, subscription: &fakeSubscription{}}
	h, err := realtime.NewHub(realtime.Options{Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Context().Err(); err != nil {
		t.Error("the hub's context has ended:", err)
	}
	if err := h.Close(); !errors.Is(err, broken) {
		t.Error("Close:", err)
	}
	if !b.closed || !b.subscription.closed {
		t.Errorf("broker closed: %v, subscription closed: %v", b.closed, b.subscription.closed)
	}
	if err := h.Context().Err(); !errors.Is(err, context.Canceled) {
		t.Error("the hub's context:", err)
	}
}

// A broker that refuses the subscription is closed, since nobody else does it.
func TestSubscriptionRefused(t *testing.T) {
	refused := errors.New("no such topic")
	b := &fakeBroker{subscribeErr: refused}
	if h, err := realtime.NewHub(realtime.Options{Broker: b}); !errors.Is(err, refused) || h != nil {
		t.Errorf("the hub is %v, and the error %v", h, err)
	}
	if !b.closed {
		t.Error("the broker is not closed")
	}
}

// A fakeBroker does what a test wants. It delivers heartbeats to the publisher, and nothing else.
type fakeBroker struct {
	subscribeErr, publishErr, closeErr error

	onPublish    func(context.Context, cluster.Envelope) error // nil accepts everything; not for heartbeats
	subscription *fakeSubscription
	topic        string // of all nodes
	closed       bool

	mu        sync.Mutex
	receivers map[string]func(cluster.Envelope) // by their topics
	published []cluster.Envelope
}

func (b *fakeBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	if isOf(e, "heartbeat") || isOf(e, "leave") {
		b.receive(e)
		return nil
	}
	if isOf(e, "backup") || isOf(e, "occupancy") {
		return nil
	}
	if b.onPublish != nil {
		if err := b.onPublish(ctx, e); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, e)
	return errors.Join(b.publishErr, ctx.Err())
}

// isOf reports whether an envelope has a message of a kind.
func isOf(e cluster.Envelope, kind string) bool {
	return bytes.HasPrefix(e.Payload, []byte(`{"v":1,"kind":"`+kind+`"`))
}

// envelopes returns what has been published, without heartbeats and tables. A hub publishes on a goroutine, for
// which the caller has waited.
func (b *fakeBroker) envelopes() []cluster.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

// receive delivers an envelope, if the hub is subscribed to its topic.
func (b *fakeBroker) receive(e cluster.Envelope) {
	b.mu.Lock()
	receive := b.receivers[e.Topic]
	b.mu.Unlock()
	if receive != nil {
		receive(e)
	}
}

func (b *fakeBroker) Subscribe(_ context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if b.subscribeErr != nil {
		return nil, b.subscribeErr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subscription == nil {
		b.subscription = new(fakeSubscription)
	}
	if b.receivers == nil {
		b.topic = topic
		b.receivers = make(map[string]func(cluster.Envelope))
	}
	b.receivers[topic] = receive
	return b.subscription, nil
}

func (b *fakeBroker) Close() error {
	b.closed = true
	return b.closeErr
}

// wire returns a message as nodes send it, from one object that has the members of its header, the
// last of which is seq, and then those of its body.
func wire(text string) []byte {
	return seqMember.ReplaceAllFunc([]byte(text), func(seq []byte) []byte {
		end := "}\n{"
		if bytes.HasSuffix(seq, []byte("}")) {
			end = "}\n"
		}
		return append(slices.Clone(seq[:len(seq)-1]), end...)
	})
}

var seqMember = regexp.MustCompile(`"seq":\d+[,}]`)

// read returns the inverse of wire.
func read(payload []byte) []byte {
	header, body, _ := bytes.Cut(payload, []byte("\n"))
	if len(body) == 0 {
		return header
	}
	return slices.Concat(bytes.TrimSuffix(header, []byte("}")), []byte(","), bytes.TrimPrefix(body, []byte("{")))
}

type fakeSubscription struct{ closed bool }

func (s *fakeSubscription) Close() error {
	s.closed = true
	return nil
}

// Close ends the handlers' context and returns when they have returned.
func TestCloseWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var returned atomic.Bool
		h := hub(t, realtime.Options{})
		handler := guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it cleans up
				returned.Store(true)
				return nil
			})
			return true, nil
		}}
		m := join(t, open(h, realtime.Policy{Handlers: []realtime.Handler{handler}}))
		m.HandleEvent(t.Context(), "event", nil, nil)
		if err := h.Close(); err != nil || !returned.Load() {
			t.Errorf("Close returned %v, and the handler has returned: %v", err, returned.Load())
		}
	})
}
