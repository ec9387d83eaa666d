package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A testConn records when it was closed.
type testConn struct {
	opened time.Time
	closed time.Time
}

func (m *testConn) Opened() time.Time { return m.opened }

// fill adds n connections, opened a minute apart, in random order. It returns them the oldest
// first.
func fill(t *testing.T, r *Registry[*testConn], n int) []*testConn {
	t.Helper()
	conns := make([]*testConn, n)
	for i := range conns {
		conns[i] = &testConn{opened: time.Now().Add(time.Duration(i-n) * time.Minute)}
	}
	for _, i := range rand.Perm(n) {
		if !r.Add(conns[i]) {
			t.Fatal("the registry takes no connections")
		}
	}
	return conns
}

// finish is how a connection ends.
func finish(r *Registry[*testConn], m *testConn) {
	m.closed = time.Now()
	r.Remove(m)
	r.Done()
}

func TestRegistry(t *testing.T) {
	var r Registry[*testConn]
	if r.Len() != 0 || len(r.All()) != 0 || r.Closed() {
		t.Error("the zero value is not empty, or closed")
	}
	conns := fill(t, &r, 20)
	if r.Len() != 20 || !slices.Equal(r.All(), conns) {
		t.Errorf("%d connections, in the order %v", r.Len(), r.All())
	}
	r.Remove(conns[3])
	r.Remove(conns[3])
	if r.Len() != 19 || slices.Contains(r.All(), conns[3]) {
		t.Error("a removed connection is there")
	}
	for _, m := range conns {
		finish(&r, m)
	}
	if err := r.Close(t.Context(), DrainOptions[*testConn]{Window: time.Hour, Close: func(*testConn) { t.Error("there is no connection to close") }}); err != nil {
		t.Error(err)
	}
	if !r.Closed() || r.Add(new(testConn)) || r.Len() != 0 {
		t.Error("a closed registry takes connections")
	}
}

// Close closes the oldest connection at once, the others at even intervals, the newest last.
func TestCloseSpreads(t *testing.T) {
	for _, test := range []struct {
		conns    int
		window   time.Duration
		takes    time.Duration // until Done, for each
		expected []time.Duration
	}{
		{0, 10 * time.Second, 0, nil},
		{1, 10 * time.Second, 0, []time.Duration{0}},
		{4, 10 * time.Second, 0, []time.Duration{0, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond}},
		{4, 0, 0, []time.Duration{0, 0, 0, 0}},
		{2, 10 * time.Second, time.Minute, []time.Duration{0, 5 * time.Second}},
		{3, 3 * time.Nanosecond, 0, []time.Duration{0, 1, 2}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var r Registry[*testConn]
			conns := fill(t, &r, test.conns)
			start := time.Now()
			var order []*testConn
			err := r.Close(t.Context(), DrainOptions[*testConn]{Window: test.window, Close: func(m *testConn) {
				order = append(order, m)
				m.closed = time.Now()
				r.Remove(m)
				time.AfterFunc(test.takes, r.Done)
			}})
			if err != nil || !slices.Equal(order, conns) {
				t.Errorf("%d connections: %v, in another order", test.conns, err)
			}
			var times []time.Duration
			for _, m := range conns {
				times = append(times, m.closed.Sub(start))
			}
			if !slices.Equal(times, test.expected) {
				t.Errorf("%d connections over %v: closed at %v, want %v", test.conns, test.window, times, test.expected)
			}
			want := test.takes
			if n := len(test.expected); n > 0 {
				want += test.expected[n-1]
			}
			if took := time.Since(start); took != want {
				t.Errorf("%d connections over %v: took %v, want %v", test.conns, test.window, took, want)
			}
		})
	}
}

// A connection whose close takes long delays the others only as long as it must.
func TestCloseSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry[*testConn]
		conns := fill(t, &r, 3)
		start := time.Now()
		if err := r.Close(t.Context(), DrainOptions[*testConn]{Window: 3 * time.Second, Close: func(m *testConn) {
			finish(&r, m)
			if m == conns[0] {
				time.Sleep(1500 * time.Millisecond)
			}
		}}); err != nil {
			t.Error(err)
		}
		for i, want := range []time.Duration{0, 1500 * time.Millisecond, 2 * time.Second} {
			if got := conns[i].closed.Sub(start); got != want {
				t.Errorf("connection %d closed after %v, want %v", i, got, want)
			}
		}
	})
}

// A context that ends before the window cuts it short, also for connections that never finish.
func TestCloseUntilDeadline(t *testing.T) {
	deadline := errors.New("deadline")
	for _, stubborn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var r Registry[*testConn]
			conns := fill(t, &r, 10)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 2500*time.Millisecond, deadline)
			defer cancel()
			start := time.Now()
			err := r.Close(ctx, DrainOptions[*testConn]{Window: 10 * time.Second, Close: func(m *testConn) {
				if !stubborn {
					finish(&r, m)
					return
				}
				m.closed = time.Now()
				r.Remove(m)
			}})
			// If all have finished and the context has ended, either may win.
			if err != nil && !errors.Is(err, deadline) || stubborn && err == nil {
				t.Errorf("stubborn %v: %v", stubborn, err)
			}
			for i, m := range conns {
				want := min(time.Duration(i)*time.Second, 2500*time.Millisecond)
				if got := m.closed.Sub(start); got != want {
					t.Errorf("stubborn %v: connection %d closed after %v, want %v", stubborn, i, got, want)
				}
			}
			if took := time.Since(start); took != 2500*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if stubborn {
				for range conns {
					r.Done()
				}
			}
			if err := r.Close(t.Context(), DrainOptions[*testConn]{Close: func(*testConn) { t.Error("closed again") }}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Close waits for busy connections, for a limited time.
func TestCloseWaitsForBusy(t *testing.T) {
	for name, test := range map[string]struct {
		window   time.Duration
		busy     [3]time.Duration // from the start
		expected [3]time.Duration
	}{
		"none":              {3 * time.Second, [3]time.Duration{}, [3]time.Duration{0, time.Second, 2 * time.Second}},
		"until its turn":    {3 * time.Second, [3]time.Duration{0, 900 * time.Millisecond}, [3]time.Duration{0, time.Second, 2 * time.Second}},
		"beyond its turn":   {3 * time.Second, [3]time.Duration{1500 * time.Millisecond}, [3]time.Duration{1500 * time.Millisecond, time.Second, 2 * time.Second}},
		"beyond the window": {3 * time.Second, [3]time.Duration{0, 0, 3100 * time.Millisecond}, [3]time.Duration{0, time.Second, 3100 * time.Millisecond}},
		"always":            {3 * time.Second, [3]time.Duration{time.Hour, 0, time.Hour}, [3]time.Duration{3300 * time.Millisecond, time.Second, 3300 * time.Millisecond}},
		"without a window":  {0, [3]time.Duration{time.Hour, time.Hour, time.Hour}, [3]time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r Registry[*testConn]
				conns := fill(t, &r, 3)
				start := time.Now()
				if err := r.Close(t.Context(), DrainOptions[*testConn]{
					Window: test.window,
					Busy:   func(m *testConn) bool { return time.Since(start) < test.busy[slices.Index(conns, m)] },
					Close:  func(m *testConn) { finish(&r, m) },
				}); err != nil {
					t.Error(err)
				}
				for i, want := range test.expected {
					if got := conns[i].closed.Sub(start); got < want || got > want+pollInterval {
						t.Errorf("connection %d closed after %v, want %v", i, got, want)
					}
				}
			})
		})
	}
}

// Close waits for goroutines that Begin announced.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry[*testConn]
		conns := fill(t, &r, 2)
		var finished atomic.Int32
		for _, m := range conns {
			r.Begin()
			go func() {
				defer r.Done()
				time.Sleep(3 * time.Second)
				finished.Add(1)
			}()
			r.Remove(m)
			r.Done()
		}
		if err := r.Close(t.Context(), DrainOptions[*testConn]{Window: time.Second, Close: func(*testConn) {}}); err != nil || finished.Load() != 2 {
			t.Errorf("%d of 2 have finished: %v", finished.Load(), err)
		}
	})
}

// Connections come and go while several goroutines close the registry. Each connection that Add
// accepted is closed or finishes by itself, once.
func TestCloseRaces(t *testing.T) {
	for range 50 {
		var r Registry[*testConn]
		var coming, closing sync.WaitGroup
		for i := range 8 {
			coming.Go(func() {
				for range 20 {
					m := &testConn{opened: time.Now()}
					if !r.Add(m) {
						return
					}
					if i%2 == 0 {
						r.Begin()
						go r.Done()
					}
					r.Len()
					r.All()
					r.Remove(m)
					r.Done()
				}
			})
		}
		for range 2 {
			closing.Go(func() {
				if err := r.Close(context.Background(), DrainOptions[*testConn]{Close: func(*testConn) {}}); err != nil {
					t.Error(err)
				}
			})
		}
		closing.Wait()
		coming.Wait()
		if r.Len() != 0 {
			t.Errorf("%d connections are left", r.Len())
		}
	}
}
