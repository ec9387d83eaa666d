package roster

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

// A member does nothing but be there.
type member struct {
	opened time.Time
	ended  time.Time
}

func (m *member) Opened() time.Time { return m.opened }

// fill enters n members, opened a minute apart, in no particular order. It
// returns them the oldest first.
func fill(t *testing.T, r *Roster[*member], n int) []*member {
	t.Helper()
	members := make([]*member, n)
	for i := range members {
		members[i] = &member{opened: time.Now().Add(time.Duration(i-n) * time.Minute)}
	}
	for _, i := range rand.Perm(n) {
		if !r.Add(members[i]) {
			t.Fatal("the roster takes no members")
		}
	}
	return members
}

// leave is the end of a member.
func leave(r *Roster[*member], m *member) {
	m.ended = time.Now()
	r.Remove(m)
	r.Done()
}

func TestRoster(t *testing.T) {
	var r Roster[*member]
	if r.Len() != 0 || len(r.All()) != 0 || r.Closed() {
		t.Error("the zero value is not empty, or closed")
	}
	members := fill(t, &r, 20)
	if r.Len() != 20 || !slices.Equal(r.All(), members) {
		t.Errorf("%d members, in the order %v", r.Len(), r.All())
	}
	r.Remove(members[3])
	r.Remove(members[3])
	if r.Len() != 19 || slices.Contains(r.All(), members[3]) {
		t.Error("a member that was removed is there")
	}
	for _, m := range members {
		leave(&r, m)
	}
	if err := r.Close(t.Context(), Ending[*member]{Window: time.Hour, End: func(*member) { t.Error("there is nobody to end") }}); err != nil {
		t.Error(err)
	}
	if !r.Closed() || r.Add(new(member)) || r.Len() != 0 {
		t.Error("a closed roster takes members")
	}
}

// TestCloseSpreads closes a roster over a window: the oldest at once, the
// others at even distances, and the newest last.
func TestCloseSpreads(t *testing.T) {
	for _, test := range []struct {
		members  int
		window   time.Duration
		takes    time.Duration // to end, for each
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
			var r Roster[*member]
			members := fill(t, &r, test.members)
			start := time.Now()
			var order []*member
			err := r.Close(t.Context(), Ending[*member]{Window: test.window, End: func(m *member) {
				order = append(order, m)
				m.ended = time.Now()
				r.Remove(m)
				time.AfterFunc(test.takes, r.Done)
			}})
			if err != nil || !slices.Equal(order, members) {
				t.Errorf("%d members: %v, in another order", test.members, err)
			}
			var times []time.Duration
			for _, m := range members {
				times = append(times, m.ended.Sub(start))
			}
			if !slices.Equal(times, test.expected) {
				t.Errorf("%d members over %v: ended at %v, want %v", test.members, test.window, times, test.expected)
			}
			want := test.takes
			if n := len(test.expected); n > 0 {
				want += test.expected[n-1]
			}
			if took := time.Since(start); took != want {
				t.Errorf("%d members over %v: took %v, want %v", test.members, test.window, took, want)
			}
		})
	}
}

// TestCloseSlowEnds has an end that takes long: the others do not wait longer
// than they have to.
func TestCloseSlowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Roster[*member]
		members := fill(t, &r, 3)
		start := time.Now()
		if err := r.Close(t.Context(), Ending[*member]{Window: 3 * time.Second, End: func(m *member) {
			leave(&r, m)
			if m == members[0] {
				time.Sleep(1500 * time.Millisecond)
			}
		}}); err != nil {
			t.Error(err)
		}
		for i, want := range []time.Duration{0, 1500 * time.Millisecond, 2 * time.Second} {
			if got := members[i].ended.Sub(start); got != want {
				t.Errorf("member %d ended after %v, want %v", i, got, want)
			}
		}
	})
}

// TestCloseInTime has a context end before the window, and members that do not
// end in time.
func TestCloseInTime(t *testing.T) {
	why := errors.New("patience is over")
	for _, stubborn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var r Roster[*member]
			members := fill(t, &r, 10)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 2500*time.Millisecond, why)
			defer cancel()
			start := time.Now()
			err := r.Close(ctx, Ending[*member]{Window: 10 * time.Second, End: func(m *member) {
				if !stubborn {
					leave(&r, m)
					return
				}
				m.ended = time.Now()
				r.Remove(m)
			}})
			// Once all have ended, and the context too, it may be either.
			if err != nil && !errors.Is(err, why) || stubborn && err == nil {
				t.Errorf("stubborn %v: %v", stubborn, err)
			}
			for i, m := range members {
				want := min(time.Duration(i)*time.Second, 2500*time.Millisecond)
				if got := m.ended.Sub(start); got != want {
					t.Errorf("stubborn %v: member %d ended after %v, want %v", stubborn, i, got, want)
				}
			}
			if took := time.Since(start); took != 2500*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if stubborn {
				for range members {
					r.Done()
				}
			}
			if err := r.Close(t.Context(), Ending[*member]{End: func(*member) { t.Error("ended again") }}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloseSpares leaves those who are busy alone, for a time that has an end.
func TestCloseSpares(t *testing.T) {
	for name, test := range map[string]struct {
		window   time.Duration
		busy     [3]time.Duration // from the beginning
		expected [3]time.Duration
	}{
		"nobody":             {3 * time.Second, [3]time.Duration{}, [3]time.Duration{0, time.Second, 2 * time.Second}},
		"until its turn":     {3 * time.Second, [3]time.Duration{0, 900 * time.Millisecond}, [3]time.Duration{0, time.Second, 2 * time.Second}},
		"beyond it":          {3 * time.Second, [3]time.Duration{1500 * time.Millisecond}, [3]time.Duration{1500 * time.Millisecond, time.Second, 2 * time.Second}},
		"beyond the window":  {3 * time.Second, [3]time.Duration{0, 0, 3100 * time.Millisecond}, [3]time.Duration{0, time.Second, 3100 * time.Millisecond}},
		"for ever":           {3 * time.Second, [3]time.Duration{time.Hour, 0, time.Hour}, [3]time.Duration{3300 * time.Millisecond, time.Second, 3300 * time.Millisecond}},
		"where nothing must": {0, [3]time.Duration{time.Hour, time.Hour, time.Hour}, [3]time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r Roster[*member]
				members := fill(t, &r, 3)
				start := time.Now()
				if err := r.Close(t.Context(), Ending[*member]{
					Window: test.window,
					Busy:   func(m *member) bool { return time.Since(start) < test.busy[slices.Index(members, m)] },
					End:    func(m *member) { leave(&r, m) },
				}); err != nil {
					t.Error(err)
				}
				for i, want := range test.expected {
					if got := members[i].ended.Sub(start); got < want || got > want+pause {
						t.Errorf("member %d ended after %v, want %v", i, got, want)
					}
				}
			})
		})
	}
}

// TestCloseWaits checks that Close waits for what members began.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Roster[*member]
		members := fill(t, &r, 2)
		var finished atomic.Int32
		for _, m := range members {
			r.Begin()
			go func() {
				defer r.Done()
				time.Sleep(3 * time.Second)
				finished.Add(1)
			}()
			r.Remove(m)
			r.Done()
		}
		if err := r.Close(t.Context(), Ending[*member]{Window: time.Second, End: func(*member) {}}); err != nil || finished.Load() != 2 {
			t.Errorf("%d of 2 have finished, %v", finished.Load(), err)
		}
	})
}

// TestCloseRaces has members come and go while the roster is closed, by
// several at once: each that was let in is ended, or ends by itself, once.
func TestCloseRaces(t *testing.T) {
	for range 50 {
		var r Roster[*member]
		var coming, closing sync.WaitGroup
		for i := range 8 {
			coming.Go(func() {
				for range 20 {
					m := &member{opened: time.Now()}
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
				if err := r.Close(context.Background(), Ending[*member]{End: func(*member) {}}); err != nil {
					t.Error(err)
				}
			})
		}
		closing.Wait()
		coming.Wait()
		if r.Len() != 0 {
			t.Errorf("%d members are left", r.Len())
		}
	}
}
