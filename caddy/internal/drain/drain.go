// Package drain ends what a configuration does when Caddy exits, before the process is gone.
//
// It exists since Caddy gives modules no time of their own at exit: it stops the apps in no
// particular order, and the HTTP app may wait, forever, for requests that only end when somebody
// ends them. An exit goes like this:
//
//   - New clients are sent elsewhere at once, and health says so.
//   - Nothing else happens for as long as the HTTP app's shutdown_delay.
//   - Connections are closed, spread over a window. Until its own end each can still be used, and
//     those that poll need a listener for that.
//   - What backends and clients still have to get is sent, or written down.
//   - The HTTP app closes its listeners.
//
// It relies on these internals of Caddy; TestCaddy fails where a new version does otherwise:
//
//   - The event "stopping" comes before any app stops, and Caddy waits until its handlers return.
//   - [caddy.Exiting] is true by then if the process exits, and false at a reload.
//   - The HTTP app reads its ShutdownDelay when it stops, and serves clients until it has passed.
//   - The HTTP app calls what [caddyhttp.Server.RegisterOnStop] has registered once its servers
//     have stopped, and modules are cleaned up after that.
package drain

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// patience is how long a configuration waits, beyond the windows of its connections, for what its
// settings are still needed for. A shorter grace_period of the HTTP app replaces it.
const patience = 30 * time.Second

// ErrPatience is the cause of a context from Limited that has ended.
var ErrPatience = errors.New("connections did not end in time")

// An Exit is the exit of one configuration. It is created with the configuration, and begins when
// Caddy exits. Begin, Begun and Wait are called as Caddy stops its apps: not concurrently.
type Exit struct {
	ctx     caddy.Context
	by      time.Time       // when the exit has to be over; zero before it begins
	done    chan struct{}   // closed when everything has been done; nil before the exit begins
	expired context.Context // ends when the exit should be over
	cut     context.CancelFunc
}

// New returns the exit of the configuration with the context.
func New(ctx caddy.Context) *Exit {
	e := &Exit{ctx: ctx}
	// Requests may outlive the configuration, so this does not end with its context.
	e.expired, e.cut = context.WithCancel(context.Background())
	return e
}

// Expired returns a context that ends when the exit should be over: whoever still waits for a
// client gives up.
func (e *Exit) Expired() context.Context { return e.expired }

// Begun reports whether the exit has begun.
func (e *Exit) Begun() bool { return e.done != nil }

// Begin begins the exit. It is called before any app stops. end ends everything: it is called
// once the HTTP app's shutdown_delay has passed. Without such a delay, Begin returns when end has
// returned; otherwise the exit goes on beside the HTTP app, and Wait waits for it.
//
// window is how long the ends of all connections take at most, and connected says whether there
// are any.
func (e *Exit) Begin(window time.Duration, connected bool, end func()) {
	e.done = make(chan struct{})
	run := func() {
		defer close(e.done)
		time.AfterFunc(time.Until(e.by), e.cut) // the process ends with it, or before
		end()
	}
	http := e.httpApp()
	if http == nil || http.ShutdownDelay <= 0 {
		e.by = e.limit(window)
		run()
		return
	}
	// The HTTP app waits for the delay when it stops, and then closes its listeners. Clients that
	// poll need these until their own end, so the app has to wait for longer.
	delay := time.Duration(http.ShutdownDelay)
	e.by = e.limit(window).Add(delay)
	if connected {
		http.ShutdownDelay += caddy.Duration(window)
	}
	go func() { // joined by Wait
		<-time.After(delay)
		run()
	}()
}

// Wait waits until the exit is over, if it has begun. It is for
// [caddyhttp.Server.RegisterOnStop]: no module may be cleaned up before.
func (e *Exit) Wait(context.Context) error {
	if e.done != nil {
		<-e.done
	}
	return nil
}

// Limited returns a context that ends when what must end should have ended: at the end of the
// exit if that has begun, and otherwise some time after the window.
func (e *Exit) Limited(window time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(context.Background(), e.limit(window), ErrPatience)
}

// Longest returns how long listeners stay open at most once an exit has begun.
func (e *Exit) Longest(window time.Duration) time.Duration {
	longest := window + e.patience()
	if http := e.httpApp(); http != nil {
		longest += time.Duration(http.ShutdownDelay)
	}
	return longest
}

func (e *Exit) limit(window time.Duration) time.Time {
	if !e.by.IsZero() {
		return e.by
	}
	return time.Now().Add(window + e.patience())
}

func (e *Exit) patience() time.Duration {
	if http := e.httpApp(); http != nil && http.GracePeriod > 0 {
		return min(patience, time.Duration(http.GracePeriod))
	}
	return patience
}

// httpApp returns the configuration's HTTP app; nil if it has none.
func (e *Exit) httpApp() *caddyhttp.App {
	app, err := e.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	return app.(*caddyhttp.App)
}
