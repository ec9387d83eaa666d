package caddy

import (
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// running are the apps that have started, the newest last.
var running struct {
	sync.Mutex
	apps []*App
}

// serves tells of a server with an endpoint, before it starts.
func (a *App) serves(ctx caddy.Context, handoverOff bool) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && a.listeners.Add(server, handoverOff) {
		server.RegisterOnStop(a.exit.Wait)
	}
}

func newestApp() *App {
	running.Lock()
	defer running.Unlock()
	if len(running.apps) == 0 {
		return nil
	}
	return running.apps[len(running.apps)-1]
}

// hold has the configuration that runs get all new connections, until it hands them over. It is
// called before another one opens its own listeners.
func (a *App) hold() {
	if newest := newestApp(); newest != nil {
		newest.listeners.Hold()
	}
}

// starts tells others that the configuration is the newest that runs.
func (a *App) starts() {
	running.Lock()
	defer running.Unlock()
	running.apps = append(running.apps, a)
}

// leaves tells others that the configuration does not run any more, and its
// clients that they should ask another.
func (a *App) leaves() {
	a.part()
	running.Lock()
	defer running.Unlock()
	running.apps = slices.DeleteFunc(running.apps, func(other *App) bool { return other == a })
}

// part has long-polls be answered, and every answer end its connection.
func (a *App) part() { a.stop.Do(func() { close(a.stopped) }) }

// handOver has the newest configuration get all connections in place of this
// one, and blocks until the clients of this one should have moved there. It does
// neither where the newest does not listen.
func (a *App) handOver() {
	if newest := newestApp(); newest != nil && newest != a {
		a.listeners.HandOver(newest.listeners, a.part)
	}
}
