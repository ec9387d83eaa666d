package caddy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// window returns how long the ends of a hub's connections are spread.
func (a *App) window(hub string) time.Duration {
	if options := a.Hubs[hub]; options != nil && options.Drain != nil {
		return time.Duration(*options.Drain)
	}
	return defaultDrain
}

// longestWindow returns how long the ends of all connections take at most, including a tenth more
// for those that are in the midst of something.
func (a *App) longestWindow() time.Duration {
	var longest time.Duration
	for name := range a.hubs {
		longest = max(longest, a.window(name))
	}
	return longest + longest/10
}

// drain ends all connections, and then everything that uses the app. It is called when Caddy exits,
// before any app stops, because the HTTP app may stop before this one or after it.
func (a *App) drain() {
	for _, h := range a.hubs {
		h.shut()
	}
	a.exit.Begin(a.longestWindow(), a.connections() > 0, func() {
		a.closeAll()
		a.handOver()
		if err := a.finish(); err != nil {
			a.logger.Error("stopping", zap.Error(err))
		}
	})
}

func (a *App) connections() int {
	n := 0
	for _, h := range a.hubs {
		n += h.connections()
	}
	return n
}

// closeAll closes every connection of the app's hubs, and waits until all have ended.
func (a *App) closeAll() {
	ctx, cancel := a.exit.Limited(a.longestWindow())
	defer cancel()
	var waits sync.WaitGroup
	for _, h := range a.hubs {
		waits.Go(func() { h.close(ctx) })
	}
	waits.Wait()
}

// handOverTime is how long an exit waits for clients to come back at other nodes. Socket.IO's clients
// try after a second or two.
const handOverTime = 5 * time.Second

// handOver waits until other nodes have taken over the sockets of clients that can recover them. Those
// that are left are saved by finish.
func (a *App) handOver() {
	ctx, cancel := a.exit.Limited(a.longestWindow())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, handOverTime)
	defer stop()
	var waits sync.WaitGroup
	for _, h := range a.hubs {
		waits.Go(func() { h.HandOver(ctx) })
	}
	waits.Wait()
}

// finish waits until nothing uses this app's settings any more, and closes the endpoints that no
// other configuration has. It saves the recoverable sockets of the hubs that no other one has.
func (a *App) finish() error {
	a.generations.leave(a.generation)
	defer a.generations.remove(a.generation)
	ctx, cancel := a.exit.Limited(a.longestWindow())
	defer cancel()
	var left []*hub
	for _, h := range a.hubs {
		if newest := a.generations.newestWith(h); newest != nil {
			h.setBroker(newest.brokers[h.Name()], a.logger)
			h.SetRecovery(newest.recovery[h.Name()])
		} else { // the hub keeps its options until its end
			left = append(left, h)
		}
	}
	var waits sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for _, r := range a.endpoints {
		if r.endpoint == nil {
			continue // never started
		}
		waits.Go(func() {
			if err := r.drop(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, fmt.Errorf("stopping endpoint %q: %w", r.settings.name, err))
			}
		})
	}
	waits.Wait()
	for _, h := range left {
		h.save(a.storeOf(h), a.logger)
	}
	return failed
}
