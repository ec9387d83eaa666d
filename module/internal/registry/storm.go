package registry

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// A storm has at least minStorm connections, and a quarter of all that are open: to collect
	// garbage takes time for each one that is open.
	minStorm  = 1000
	stormPart = 4
	// A storm is over when stormPause has brought less than a twentieth of it.
	stormPause = 5 * time.Second
	stormTail  = 20
)

// A storm is many connections that open within a short time, as after a restart. The handshake
// of each leaves garbage, several times as much as an idle connection takes. An idle server
// would keep that: the runtime collects when the heap has grown, or else after two minutes, and
// gives pages back only later. So when a storm is over, the runtime is told to do both.
//
// The zero value has seen none.
type storm struct {
	free func() // nil: debug.FreeOSMemory

	mu      sync.Mutex
	opened  int         // connections since the last storm
	recent  int         // those since the timer was set
	timer   *time.Timer // nil: there is no storm
	stopped bool
	freeing sync.WaitGroup
}

// add notes that a connection has opened. So many are open now.
func (s *storm) add(open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	s.recent++
	if s.timer == nil && !s.stopped && s.opened >= max(minStorm, open/stormPart) {
		s.watch()
	}
}

func (s *storm) watch() {
	s.recent = 0
	s.timer = time.AfterFunc(stormPause, s.check)
}

// check is called by the timer.
func (s *storm) check() {
	if !s.over() {
		return
	}
	defer s.freeing.Done()
	if s.free != nil {
		s.free()
	} else {
		debug.FreeOSMemory()
	}
}

// over reports whether the storm is over, and looks again later if it is not.
func (s *storm) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return false
	case s.recent*stormTail >= s.opened:
		s.watch()
		return false
	}
	s.opened, s.timer = 0, nil
	s.freeing.Add(1)
	return true
}

// stop ends the watch for storms.
func (s *storm) stop() {
	s.mu.Lock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.freeing.Wait()
}
