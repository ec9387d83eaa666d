package caddy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// When Caddy exits:
//
//   - health says so at once, and newcomers are sent elsewhere
//   - nothing else happens for as long as the HTTP app's shutdown_delay
//   - connections are closed, spread over the window; until its own end each can
//     still be used, by polling, too
//   - what backends and clients are owed is sent, or written down
//   - the HTTP app closes its listeners

// patience is how long an app waits, beyond the time that draining takes, for
// what its settings are still needed for. A grace_period of the HTTP app that is
// shorter takes its place.
const patience = 30 * time.Second

// httpApp returns the configuration's HTTP app; nil if it has none.
func (a *App) httpApp() *caddyhttp.App {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	return app.(*caddyhttp.App)
}

// window returns over how long the ends of a hub's connections are spread.
func (a *App) window(hub string) time.Duration {
	if options := a.Hubs[hub]; options != nil && options.Drain != nil {
		return time.Duration(*options.Drain)
	}
	return defaultDrain
}

// longest returns how long the ends of all connections take at most, with those
// that are in the midst of something.
func (a *App) longest() time.Duration {
	var longest time.Duration
	for name := range a.hubs {
		longest = max(longest, a.window(name))
	}
	return longest + longest/10
}

var errPatience = errors.New("connections did not end in time")

// limit returns when what must have an end has to have ended: in all, if Caddy
// exits, and else from now on.
func (a *App) limit() time.Time {
	if !a.exitBy.IsZero() {
		return a.exitBy
	}
	limit := patience
	if http := a.httpApp(); http != nil && http.GracePeriod > 0 {
		limit = min(limit, time.Duration(http.GracePeriod))
	}
	return time.Now().Add(a.longest() + limit)
}

// limited returns a context that ends by the limit.
func (a *App) limited() (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(context.Background(), a.limit(), errPatience)
}

// drain ends all connections, and what the app is still needed for. It is called
// when Caddy is about to exit, before any app stops: the HTTP app may wait for
// anybody's requests when it does, and nobody knows whether it stops before this
// app or after. What is owed shall be written down by then.
func (a *App) drain() {
	for _, h := range a.hubs {
		h.shut()
	}
	a.exit = make(chan struct{})
	http := a.httpApp()
	if http == nil || http.ShutdownDelay <= 0 {
		a.exitBy = a.limit()
		a.end()
		return
	}
	// The HTTP app waits for the delay when it stops, and then closes its
	// listeners, which clients that poll need until their own end: it has to wait
	// for longer, and the rest is done beside it.
	delay := time.Duration(http.ShutdownDelay)
	a.exitBy = a.limit().Add(delay)
	if a.connections() > 0 {
		http.ShutdownDelay += caddy.Duration(a.longest())
	}
	go func() { // joined by awaitExit
		<-time.After(delay)
		a.end()
	}()
}

// end is what an exit consists of.
func (a *App) end() {
	defer close(a.exit)
	time.AfterFunc(time.Until(a.exitBy), a.cut) // the process ends with it, or before
	a.closeAll()
	if err := a.finish(); err != nil {
		a.logger.Error("stopping", zap.Error(err))
	}
}

// awaitExit is called when a server of the HTTP app has stopped. No guest may be
// cleaned up before the rest of an exit has been done.
func (a *App) awaitExit(context.Context) error {
	if a.exit != nil {
		<-a.exit
	}
	return nil
}

func (a *App) connections() int {
	n := 0
	for _, h := range a.hubs {
		n += h.connections()
	}
	return n
}

// closeAll closes every connection of the app's hubs, and waits until all have
// ended.
func (a *App) closeAll() {
	ctx, cancel := a.limited()
	defer cancel()
	var waits sync.WaitGroup
	for _, h := range a.hubs {
		waits.Go(func() { h.close(ctx) })
	}
	waits.Wait()
}

// finish waits until nothing is done by this app's settings any more, closes the
// endpoints that no other configuration has, and writes down what the hubs owe
// that none has.
func (a *App) finish() error {
	a.leaves()
	ctx, cancel := a.limited()
	defer cancel()
	var left []*hub
	for _, h := range a.hubs {
		if h.drop(a) {
			left = append(left, h)
		}
	}
	var waits sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for _, s := range a.endpoints {
		if s.lease == nil {
			continue // never started
		}
		waits.Go(func() {
			if err := s.lease.drop(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, fmt.Errorf("stopping endpoint %q: %w", s.name, err))
			}
		})
	}
	waits.Wait()
	for _, h := range left {
		h.save(a.storeOf(h), a.logger)
	}
	return failed
}
