package caddy

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/reuseport"
)

// handoverTime is how long a reload waits before the last configuration's HTTP
// servers stop. Until then clients that have begun to connect to them come in,
// and those that are in use up the connections that they keep: a long-poll is
// answered at once, the next request may take another of these and is the last
// on it, too. That takes a round trip each, and this is one to the other side of
// the Earth.
const handoverTime = 300 * time.Millisecond

// handoverPause begins that wait. Only tests replace it, which say when it is over.
var handoverPause = time.After

// settleTime is how long a reload waits, at most, for the sockets of one that has
// just failed to be gone.
const settleTime = 100 * time.Millisecond

// handoverLimit is how long a reload waits then, at most, for connections that
// have been made and by which no request has come, be it that the server is slow
// to accept them or that TLS takes its time; and for a server to stop listening.
const handoverLimit = 2 * time.Second

// quietLooks is how often in a row, a millisecond apart, a server must have no new
// connection before it stops. Between the kernel's queue and the server's first
// word of it a connection is seen by nobody, and so is its first request between
// being read and being served. On a busy machine that takes some milliseconds.
// Looks count here, and not time: they are late whenever the server is.
const quietLooks = 20

// A handover is a configuration's part in reloads. On Linux Caddy opens every
// address once more for a new configuration, and then closes the last one's
// socket. Each gets a share of the connections meanwhile, and the kernel resets
// those that have not been accepted when theirs closes. So we say who gets them:
// first the old socket alone, until the new configuration has started as a whole,
// since one that fails closes its sockets; then the new one alone, a while before
// the old one closes.
type handover struct {
	servers []*caddyhttp.Server // with an endpoint
	doors   []*door             // of the servers
	opened  bool                // doors are known
	passed  []*door             // those that have been handed over

	newcomers newcomers // to the servers
}

// A door is a socket that a configuration's clients come in by.
type door struct {
	*reuseport.Socket
	address string
	first   bool  // the kernel has it before all others of its address
	next    *door // the one that is to be used in its place
}

// running are the apps that have started, the newest last. They have to know of
// each other, since what a socket gets is said to all those of its address. The
// mutex also guards their handovers.
var running struct {
	sync.Mutex
	apps []*App
}

// serves tells of a server with an endpoint, before it starts.
func (a *App) serves(ctx caddy.Context) {
	running.Lock()
	defer running.Unlock()
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && !slices.Contains(a.handover.servers, server) {
		a.handover.servers = append(a.handover.servers, server)
		server.RegisterConnState(a.handover.newcomers.track)
		server.RegisterOnStop(a.awaitExit)
	}
}

// open returns the doors of a configuration that has started.
func (h *handover) open() []*door {
	if h.opened {
		return h.doors
	}
	h.opened = true
	for _, server := range h.servers {
		for _, listener := range server.Listeners() {
			if socket, ok := reuseport.Find(listener, listenAgain); ok {
				h.doors = append(h.doors, &door{Socket: socket, address: listener.Addr().String()})
			}
		}
	}
	return h.doors
}

// listenAgain implements reuseport.Listen by Caddy, which may have privileges
// for it that it only uses then.
func listenAgain(network, address string, config net.ListenConfig) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	parsed, err := caddy.ParseNetworkAddress(caddy.JoinNetworkAddress(network, host, port))
	if err != nil {
		return nil, err
	}
	listener, err := parsed.Listen(context.Background(), 0, config)
	if err != nil {
		return nil, err
	}
	return listener.(net.Listener), nil
}

// hold has the doors of the configuration that runs get all connections, until
// it hands them over. It is called before another one opens its own. If that
// one fails it stays like this until the next: the doors are the only ones again,
// and only another process that came now would get no share.
func (a *App) hold() {
	running.Lock()
	defer running.Unlock()
	if len(running.apps) == 0 {
		return
	}
	for _, d := range running.apps[len(running.apps)-1].handover.open() {
		if err := d.hold(); err != nil {
			a.logger.Debug("cannot keep connections from a configuration that has not started", zap.String("address", d.address), zap.Error(err))
		}
	}
}

func (d *door) hold() error {
	group, err := d.Group()
	if err != nil {
		return err
	}
	// Whatever joined later is behind it.
	d.first = d.first || len(group) == 1
	if !d.first {
		return errShared
	}
	if err := d.Steer(0); err != nil {
		d.first = false
		return err
	}
	return nil
}

var (
	errShared = errors.New("others listen there, too")
	errLeft   = errors.New("the next configuration does not listen there")
)

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
	if !a.pass() {
		return
	}
	a.part()
	<-handoverPause(handoverTime)
	awaitQuiet(handoverLimit, func() bool {
		return a.handover.newcomers.any(handoverLimit) || slices.ContainsFunc(a.handover.passed, func(d *door) bool {
			n, err := d.Queued()
			return err == nil && n > 0
		})
	})
}

// pass steers connections past the doors, and reports whether there is any that
// it could.
func (a *App) pass() bool {
	running.Lock()
	defer running.Unlock()
	if len(running.apps) == 0 || running.apps[len(running.apps)-1] == a {
		return false
	}
	next := running.apps[len(running.apps)-1].handover.open()
	for _, d := range a.handover.open() {
		if err := d.pass(next); err != nil {
			a.logger.Debug("connections are not handed over to the next configuration", zap.String("address", d.address), zap.Error(err))
			continue
		}
		a.handover.passed = append(a.handover.passed, d)
	}
	return len(a.handover.passed) > 0
}

func (d *door) pass(others []*door) error {
	i := slices.IndexFunc(others, func(other *door) bool { return other.address == d.address })
	if i < 0 {
		return errLeft
	}
	next := others[i]
	if !d.first || d.Inode == next.Inode {
		return errShared
	}
	if !soon(settleTime, func() bool {
		group, err := d.Group()
		return err == nil && len(group) == 2 && slices.Contains(group, next.Inode)
	}) {
		return errShared
	}
	d.next = next
	return d.Steer(1)
}

// handedOver ends what handOver began. It is called when Caddy has begun to
// close the doors, and waits until it has. Only then is the next one alone: the
// configuration after that can be told from it.
func (a *App) handedOver() {
	running.Lock()
	defer running.Unlock()
	for _, d := range a.handover.passed {
		alone := soon(handoverLimit, func() bool {
			group, err := d.next.Group()
			return err != nil || len(group) == 1
		})
		if !alone {
			a.logger.Debug("the last configuration still listens", zap.String("address", d.address))
			continue
		}
		d.next.first = true
		// Whoever else is to open the address gets a share, as without us.
		if err := d.next.Share(); err != nil {
			a.logger.Debug("cannot give others a share of the connections", zap.String("address", d.address), zap.Error(err))
		}
	}
	// Each door knows the next: whoever still holds the first shall not hold all.
	a.handover.doors, a.handover.passed, a.handover.servers = nil, nil, nil
}

// soon waits until something is so, for as long as the limit, and reports whether
// it is.
func soon(limit time.Duration, so func() bool) bool {
	late := time.After(limit)
	again := time.NewTicker(time.Millisecond) // the kernel has no event for it
	defer again.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-late:
			return so() // it may have become so while this was as late
		}
	}
	return true
}

// awaitQuiet waits, for as long as the limit, until busy has been false at
// quietLooks looks in a row.
func awaitQuiet(limit time.Duration, busy func() bool) {
	quiet := 0
	soon(limit, func() bool {
		quiet++
		if busy() {
			quiet = 0
		}
		return quiet >= quietLooks
	})
}
