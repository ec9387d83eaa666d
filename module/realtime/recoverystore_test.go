package realtime_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

const recoveryWindow = time.Minute

// The history is limited by number, size and time, and its memory is freed.
func TestRecoveryMemory(t *testing.T) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	synctest.Test(t, func(t *testing.T) {
		h, err := realtime.NewHub(realtime.Options{Recovery: realtime.Recovery{Window: time.Minute, MaxEvents: 5000}})
		if err != nil {
			t.Fatal(err)
		}
		e := open(h, realtime.Policy{})
		ns := h.Namespace("/")
		flood := func(n, size int) {
			for range n {
				text := `"` + strings.Repeat("x", size) + `"`
				if err := ns.To().Emit(t.Context(), "flood", arg(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		crowd := func(n int) {
			for range n {
				c := &recoverableClient{e: e}
				_, _ = c.connect(0)
				_ = c.socket.Emit(t.Context(), "hello")
				c.receive(1)
				c.disconnect("transport close")
			}
		}
		before := heap()
		step := func(what string, least, most float64) {
			t.Helper()
			if mb := heap() - before; mb < least || mb > most {
				t.Errorf("%s: %.1f MB are in use, want between %g and %g", what, mb, least, most)
			} else {
				t.Logf("%s: %.1f MB", what, mb)
			}
		}
		flood(6_000, 1000)
		step("5000 events of 1 kB", 5, 9)
		flood(100, 1_000_000)
		step("32 events of 1 MB", 25, 40)
		flood(5000, 10)
		step("5000 small events", 0.5, 8)
		crowd(3_000)
		step("3000 disconnected sockets", 0.5, 8)
		time.Sleep(2 * time.Minute)
		step("after the window", -1, 1)
		flood(6_000, 1000)
		crowd(1000)
		h.SetRecovery(realtime.Recovery{})
		step("turned off", -1, 1)
		h.SetRecovery(realtime.Recovery{Window: time.Hour})
		flood(6_000, 1000)
		h.SetRecovery(realtime.Recovery{Window: time.Hour, MaxEvents: 100})
		step("smaller", -1, 1.5)
		crowd(1000)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		step("closed", -1, 1)
		runtime.KeepAlive(h)
	})
}

// A client joins and leaves rooms all the time. Its membership log stays bounded, and it can
// recover if it received all earlier events.
func TestRecoveryMembershipLog(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	for _, listens := range []bool{true, false} {
		c := &recoverableClient{e: e}
		_, _ = c.connect(0)
		_ = c.socket.Emit(t.Context(), "first")
		c.receive(1)
		for i := range 2000 {
			room := strconv.Itoa(i)
			c.socket.Join(room)
			_ = ns.To(room).Emit(t.Context(), "event")
			c.socket.Leave(room)
		}
		if listens {
			c.receive(1990)
		}
		c.disconnect("transport close")
		recovered, err := c.connect(0)
		if err != nil || recovered != listens {
			t.Errorf("listens %v: recovered %v, %v", listens, recovered, err)
		}
		c.receive(1 << 30)
		if listens && len(c.received) != 2001 {
			t.Errorf("%d events were received, want 2001", len(c.received))
		}
	}
}

// A connection that is not recoverable has no private id, and events to it alone have no offset.
func TestNotRecoverable(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	m := join(t, e)
	if err := m.Emit(t.Context(), "event"); err != nil {
		t.Fatal(err)
	}
	for _, message := range m.client.received() {
		if message.Offset() != "" {
			t.Errorf("%s has the offset %q", message.Event, message.Offset())
		}
	}
	if m.PrivateID() != "" {
		t.Errorf("the private id is %q", m.PrivateID())
	}
}

// Interface guards
var _ realtime.RecoverableConn = (*recoverableConn)(nil)
