package registry

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestStorm: memory is given back once after many connections have opened.
func TestStorm(t *testing.T) {
	type arrivals struct {
		n  int
		in time.Duration
	}
	for name, test := range map[string]struct {
		open     int // before
		arrivals []arrivals
		freed    []time.Duration
	}{
		"few":        {0, []arrivals{{minStorm - 1, time.Second}}, nil},
		"many":       {0, []arrivals{{minStorm, time.Second}}, []time.Duration{6 * time.Second}},
		"two storms": {0, []arrivals{{minStorm, 0}, {0, time.Minute}, {minStorm, 0}}, []time.Duration{5 * time.Second, 65 * time.Second}},
		"many, then some": {
			0, []arrivals{{10_000, 0}, {100, 10 * time.Second}}, []time.Duration{5 * time.Second},
		},
		"many, then not as many": {
			0, []arrivals{{10_000, 0}, {2000, 10 * time.Second}}, []time.Duration{15 * time.Second},
		},
		"some among many":     {8 * minStorm, []arrivals{{2 * minStorm, time.Second}}, nil},
		"a quarter among all": {8 * minStorm, []arrivals{{3 * minStorm, time.Second}}, []time.Duration{6 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex // guards freed
				var freed []time.Duration
				s := storm{free: func() {
					mu.Lock()
					defer mu.Unlock()
					freed = append(freed, time.Since(start))
				}}
				open := test.open
				for _, a := range test.arrivals {
					for range a.n {
						time.Sleep(a.in / time.Duration(a.n))
						open++
						s.add(open)
					}
					if a.n == 0 {
						time.Sleep(a.in)
					}
				}
				time.Sleep(time.Hour)
				s.stop()
				mu.Lock()
				defer mu.Unlock()
				if len(freed) != len(test.freed) {
					t.Fatalf("memory was given back at %v, want %v", freed, test.freed)
				}
				for i, at := range freed {
					if late := at - test.freed[i]; late < 0 || late > stormPause {
						t.Errorf("memory was given back at %v, want %v", freed, test.freed)
					}
				}
			})
		})
	}
}

// TestStormStops: after stop, nothing is begun any more.
func TestStormStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storm{free: func() { t.Error("memory is given back") }}
		for i := range 2 * minStorm {
			s.add(i + 1)
		}
		s.stop()
		s.add(1)
		time.Sleep(time.Hour)
	})
}
