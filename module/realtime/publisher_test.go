package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Many goroutines broadcast from one node, each event to one or more rooms. A room has the same
// order on both nodes.
func TestClusterOneOrder(t *testing.T) {
	const emitters, each, rooms = 8, 300, 6
	broker := membroker.New(membroker.Options{Queue: 1 << 20, QueueBytes: 1 << 30})
	here := open(hub(t, realtime.Options{Broker: broker}), realtime.Policy{})
	there := open(hub(t, realtime.Options{Broker: broker.Peer()}), realtime.Policy{})
	name := func(room int) string { return fmt.Sprint("room ", room%rooms) }
	observers := func(e *testEndpoint) (members []*member) {
		for room := range rooms {
			members = append(members, join(t, e, name(room)))
		}
		return members
	}
	mine, theirs := observers(here), observers(there)
	var due sync.WaitGroup // the events that each observer has yet to get
	for room, m := range theirs {
		for emitter := range emitters {
			for i := range each {
				if slices.Contains(targetRooms(emitter, i, rooms), room) {
					due.Add(1)
				}
			}
		}
		m.client.onDeliver = func(*realtime.Message) error {
			due.Done()
			return nil
		}
	}
	var emitting sync.WaitGroup
	for emitter := range emitters {
		emitting.Go(func() {
			for i := range each {
				var to []string
				for _, room := range targetRooms(emitter, i, rooms) {
					to = append(to, name(room))
				}
				if err := here.Hub().Namespace("/").To(to...).Emit(t.Context(), fmt.Sprint(emitter, " ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	emitting.Wait()
	arrived := make(chan struct{})
	go func() {
		due.Wait()
		close(arrived)
	}()
	select {
	case <-arrived:
	case <-time.After(timeout):
		t.Fatal("not everything arrived")
	}
	for room := range rooms {
		got, want := theirs[room].client.events(), mine[room].client.events()
		differ := 0
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				differ++
			}
		}
		if len(got) != len(want) || differ > 0 {
			t.Errorf("%s: %d events here and %d there, of which %d are in other places", name(room), len(want), len(got), differ)
		}
	}
}

// targetRooms returns the rooms of an emitter's event: one, two that overlap with others', or all.
func targetRooms(emitter, i, rooms int) []int {
	switch (emitter + i) % 4 {
	case 0:
		return []int{i % rooms, (i + 1) % rooms}
	case 1:
		all := make([]int, rooms)
		for room := range all {
			all[room] = room
		}
		return all
	}
	return []int{i % rooms}
}

// stalledBroker returns a broker whose Publish blocks until goOn is called.
func stalledBroker() (b *fakeBroker, goOn func()) {
	open := make(chan struct{})
	return &fakeBroker{onPublish: func(ctx context.Context, _ cluster.Envelope) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, sync.OnceFunc(func() { close(open) })
}

// While the broker is stalled, this node's sockets get everything at once, Emit returns an error
// for what is not queued, and the queue stays bounded.
func TestStalledBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, lines := observer.New(zapcore.WarnLevel)
		b, goOn := stalledBroker()
		const limit = 64 << 10
		e := open(hub(t, realtime.Options{Broker: b, BrokerQueue: limit, Logger: zap.New(logs)}), realtime.Policy{})
		m := join(t, e, "room")
		start := time.Now()
		large, passed, refused := realtime.String(string(make([]byte, 1000))), 0, 0
		var want []string
		for i := range 1000 {
			event := fmt.Sprint("event ", i)
			want = append(want, event)
			switch err := e.Hub().Namespace("/").To("room").Emit(t.Context(), event, large); {
			case err == nil:
				passed++
			case errors.Is(err, realtime.ErrLocalOnly):
				refused++
			default:
				t.Fatal(err)
			}
		}
		if err := e.Hub().Namespace("/").To("nobody").Volatile().Emit(t.Context(), "volatile", large); err != nil {
			t.Error("what may be lost is missed:", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("nobody shall wait for a broker, and it took %v", took)
		}
		equal(t, "events here", m.client.events(), want)
		if passed < 2 || passed > limit/1000 || refused != 1000-passed {
			t.Errorf("%d are passed on and %d are not", passed, refused)
		}
		stats := e.Hub().BrokerStats()
		if stats.Queued == 0 || stats.Queued > limit || stats.Dropped != uint64(refused)+1 || stats.Published != 0 {
			t.Errorf("stalled: %+v", stats)
		}
		if lines.Len() != 1 {
			t.Errorf("logged %d lines", lines.Len())
		}
		goOn()
		synctest.Wait()
		stats = e.Hub().BrokerStats()
		if stats.Queued != 0 || stats.Published != uint64(passed) {
			t.Errorf("in the end: %+v", stats)
		}
		if err := e.Hub().Namespace("/").To("room").Emit(t.Context(), "again", large); err != nil {
			t.Error("later:", err)
		}
		synctest.Wait()
		// The message about the loss has the number of the last one that was lost.
		var last struct {
			Seq  uint64
			Kind string
		}
		for i, envelope := range b.envelopes() {
			want, kind := uint64(i+1), "broadcast"
			switch i {
			case passed:
				want, kind = 1000, "lost"
			case passed + 1:
				want = 1001
			}
			if err := json.Unmarshal(read(envelope.Payload), &last); err != nil || last.Seq != want || last.Kind != kind {
				t.Errorf("envelope %d: %.100s, %v", i, envelope.Payload, err)
			}
		}
		if n := len(b.envelopes()); n != passed+2 || last.Kind != "broadcast" {
			t.Errorf("%d envelopes, the last of the kind %q", n, last.Kind)
		}
	})
}

// A node learns that it missed a broadcast, whether another one follows or not. Its clients then
// cannot recover.
func TestErrLocalOnly(t *testing.T) {
	for name, follows := range map[string]bool{"something follows": true, "nothing follows": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, goOn := stalledBroker()
				logs, lines := observer.New(zapcore.WarnLevel)
				peerBroker := new(fakeBroker)
				there := open(hub(t, realtime.Options{Broker: peerBroker, Recovery: realtime.Recovery{Window: time.Hour}, Logger: zap.New(logs)}), realtime.Policy{})
				here := hub(t, realtime.Options{Broker: b, BrokerQueue: 1})
				emit := func(event string) error {
					err := here.Namespace("/").To().Emit(t.Context(), event)
					synctest.Wait()
					return err
				}
				present, gone := &recoverableClient{e: there}, &recoverableClient{e: there}
				for _, p := range []*recoverableClient{present, gone} {
					_, _ = p.connect(0)
					_ = p.socket.Emit(t.Context(), "own")
					p.receive(1)
				}
				gone.disconnect("transport close")
				if err := emit("passed on"); err != nil {
					t.Error(err)
				}
				if err := emit("lost"); !errors.Is(err, realtime.ErrLocalOnly) {
					t.Error(err)
				}
				goOn()
				synctest.Wait()
				if follows {
					if err := emit("follows"); err != nil {
						t.Error(err)
					}
				}
				for _, envelope := range b.envelopes() {
					peerBroker.receive(envelope)
				}
				if stats := there.Hub().BrokerStats(); stats.Gaps != 1 || lines.Len() != 1 {
					t.Errorf("%+v; logged %v", stats, lines.All())
				}
				// A client that was connected has missed it, too.
				present.receive(10)
				present.disconnect("transport close")
				for name, p := range map[string]*recoverableClient{"present": present, "gone": gone} {
					if recovered, err := p.connect(0); err != nil || recovered {
						t.Errorf("%s: recovered %v, %v", name, recovered, err)
					}
				}
				// A client that connected later has not.
				_ = present.socket.Emit(t.Context(), "own")
				present.receive(1)
				present.disconnect("transport close")
				_ = there.Hub().Namespace("/").To().Emit(t.Context(), "missed")
				if recovered, err := present.connect(0); err != nil || !recovered {
					t.Errorf("afterwards: recovered %v, %v", recovered, err)
				}
				present.receive(10)
				equal(t, "received", present.received, []string{"own", "missed"})
			})
		})
	}
}

// A broker reports a gap.
func TestBrokerGap(t *testing.T) {
	b := new(fakeBroker)
	e := open(hub(t, realtime.Options{Broker: b, Recovery: realtime.Recovery{Window: time.Hour}}), realtime.Policy{})
	p := &recoverableClient{e: e}
	_, _ = p.connect(0)
	_ = p.socket.Emit(t.Context(), "own")
	p.receive(1)
	p.disconnect("transport close")
	b.receive(cluster.Envelope{Topic: b.topic, Gap: true})
	if recovered, err := p.connect(0); err != nil || recovered {
		t.Errorf("recovered %v, %v", recovered, err)
	}
}

// A node has narrower limits than the sender. Its clients cannot recover past an event that it
// dropped.
func TestNarrowerLimits(t *testing.T) {
	b := new(fakeBroker)
	h := hub(t, realtime.Options{Broker: b, Recovery: realtime.Recovery{Window: time.Hour}})
	p := &recoverableClient{e: open(h, realtime.Policy{})}
	_, _ = p.connect(0)
	_ = p.socket.Emit(t.Context(), "own")
	p.receive(1)
	p.disconnect("transport close")
	deep := strings.Repeat("[", realtime.Limits{}.WithDefaults().Depth+1) + strings.Repeat("]", realtime.Limits{}.WithDefaults().Depth+1)
	b.receive(cluster.Envelope{Node: "there", Topic: b.topic, Payload: wire(fmt.Sprintf(
		`{"v":1,"kind":"broadcast","incarnation":"i","seq":1,"namespace":"/","event":"e","args":[{"json":%s}]}`, deep))})
	if gaps := h.BrokerStats().Gaps; gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
	if recovered, err := p.connect(0); err != nil || recovered {
		t.Errorf("recovered %v, %v", recovered, err)
	}
}

// One broker fails for a moment. Another one never accepts one of the broadcasts.
func TestBrokerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(2 * time.Second)
		b := &fakeBroker{onPublish: func(context.Context, cluster.Envelope) error {
			if time.Now().Before(back) {
				return errors.New("connection lost")
			}
			return nil
		}}
		h := hub(t, realtime.Options{Broker: b})
		for i := range 10 {
			if err := h.Namespace("/").To().Emit(t.Context(), strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(3 * time.Second)
		if stats := h.BrokerStats(); stats.Published != 10 || stats.Dropped != 0 {
			t.Errorf("%+v", stats)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		b := &fakeBroker{}
		b.onPublish = func(_ context.Context, e cluster.Envelope) error {
			if len(e.Payload) > 1000 {
				refused++
				return errors.New("too large")
			}
			return nil
		}
		h := hub(t, realtime.Options{Broker: b})
		for _, size := range []int{1, 5000, 1} {
			if err := h.Namespace("/").To().Emit(t.Context(), "event", realtime.String(strings.Repeat("x", size))); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if stats := h.BrokerStats(); stats.Published != 2 || stats.Dropped != 1 || refused < 2 {
			t.Errorf("%+v after %d attempts", stats, refused)
		}
		if envelopes := b.envelopes(); len(envelopes) != 2 || !json.Valid(read(envelopes[1].Payload)) {
			t.Errorf("published %d envelopes", len(envelopes))
		}
	})
}

// A hub closes while its broker is slow or stalled.
func TestClosePublishesQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{onPublish: func(context.Context, cluster.Envelope) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}}
		h, err := realtime.NewHub(realtime.Options{Broker: b})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := h.Namespace("/").To().Emit(t.Context(), strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if n := len(b.envelopes()); n != 20 {
			t.Errorf("%d of 20 are passed on", n)
		}
		if err := h.Namespace("/").To().Emit(t.Context(), "late"); !errors.Is(err, realtime.ErrLocalOnly) {
			t.Error("Emit after Close:", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, _ := stalledBroker()
		h, err := realtime.NewHub(realtime.Options{Broker: b})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := h.Namespace("/").To().Emit(t.Context(), strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		}
		start := time.Now()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < time.Second || took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
		if stats := h.BrokerStats(); stats.Dropped != 20 || stats.Queued != 0 {
			t.Errorf("%+v", stats)
		}
	})
}
