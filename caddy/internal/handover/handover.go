// Package handover gives the connections that clients begin from one configuration's listeners to
// the next one's at a reload, such that none is lost.
//
// It exists since, on Linux, Caddy opens each address once more for a new configuration
// (SO_REUSEPORT) and then closes the last one's socket. Meanwhile the kernel gives each of the two
// sockets a share of the new connections, and when a socket closes it resets those that have not
// been accepted. The server that stops also closes connections whose first request it has not
// read. So this package tells the kernel which socket gets the connections:
//
//   - The old socket alone, until the new configuration has started as a whole: one that fails
//     closes its sockets ([Listeners.Hold]).
//   - Then the new socket alone, a while before the old one closes ([Listeners.HandOver]).
//   - Each a share again, once the old one is closed ([Listeners.Release]).
//
// Where that does not work, Caddy's own way remains, and [Listeners.State] says why. Other
// systems than Linux have no such sockets, and Caddy passes one listener on.
//
// It relies on these internals of Caddy; TestCaddy fails where a new version does otherwise:
//
//   - A new configuration's listeners are open before the event "stopping" of the old one, and the
//     old one's until that event's handlers return.
//   - [caddyhttp.Server.Listeners] returns them, and each wrapper embeds the listener within, as
//     package reuseport needs it.
//   - A function of [caddyhttp.Server.RegisterConnState] is told of each connection before its
//     first request.
//   - A configuration is cleaned up after its servers have begun to stop.
package handover

import (
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/reuseport"
)

// handoverTime is how long a reload waits before the last configuration's HTTP servers stop. Until
// then they answer clients that have begun to connect, and clients use up the connections that
// they keep open: a long poll is answered at once, the next request may take another open
// connection and is the last on it, too. Each takes a round trip, and this is one to the other
// side of the Earth.
const handoverTime = 300 * time.Millisecond

// settleTime is how long a reload waits, at most, for the sockets of a configuration that has just
// failed to be gone.
const settleTime = 100 * time.Millisecond

// handoverLimit is how long a reload waits, at most, for the first request of a new connection,
// whether the server is slow to accept it or TLS takes its time; and for a server to stop
// listening.
const handoverLimit = 2 * time.Second

// quietLooks is how often in a row, a millisecond apart, a server must have no new connection
// before it stops. Between the kernel's queue and the server's first word of it a connection is
// seen nowhere, nor is its first request between being read and being served. On a busy machine
// that takes some milliseconds. Looks count here, not time: they are late whenever the server is.
const quietLooks = 20

// mu guards all Listeners: what one socket gets is decided by all sockets of its address, whatever
// configuration they are of.
var mu sync.Mutex

// Listeners are those of one configuration's HTTP servers. All methods may be called concurrently.
type Listeners struct {
	logger *zap.Logger
	pause  func(time.Duration) <-chan time.Time

	servers   []*caddyhttp.Server
	off       map[*caddyhttp.Server]bool
	conns     newConns    // of the servers
	listeners []*listener // once opened
	opened    bool
	passed    []*listener     // those that have been handed over
	told      map[string]bool // what the log has, of earlier configurations, too

	// Health asks for these while a reload has the mutex.
	allOff atomic.Bool
	failed atomic.Pointer[string] // why an address was not handed over to these; nil if all were
}

// A listener is a socket by which a configuration's clients come in.
type listener struct {
	*reuseport.Socket // nil if it cannot be found
	address           string
	first             bool      // the kernel numbers it before all others of its address
	steered           bool      // the kernel was told which socket gets the connections
	next              *listener // the one that replaces it
}

// New returns the listeners of a configuration, which has none yet. pause begins the wait of a
// reload; nil stands for [time.After].
func New(logger *zap.Logger, pause func(time.Duration) <-chan time.Time) *Listeners {
	if pause == nil {
		pause = time.After
	}
	return &Listeners{logger: logger, pause: pause, off: make(map[*caddyhttp.Server]bool), told: make(map[string]bool)}
}

// Add adds those of a server, before it starts. It reports whether the server is a new one. off
// leaves the server to Caddy's own way, also if it is added again without.
func (l *Listeners) Add(server *caddyhttp.Server, off bool) (added bool) {
	mu.Lock()
	defer mu.Unlock()
	added = !slices.Contains(l.servers, server)
	if added {
		l.servers = append(l.servers, server)
		server.RegisterConnState(l.conns.track)
	}
	if off {
		l.off[server] = true
	}
	l.allOff.Store(len(l.off) == len(l.servers))
	return added
}

// Servers returns the servers that were added.
func (l *Listeners) Servers() []*caddyhttp.Server {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(l.servers)
}

// What State may return, besides a reason.
const (
	on          = "on"
	off         = "off"
	unsupported = "unsupported"
	fellBack    = "fell back: "
)

// State returns "on" or "off", or "unsupported" on other systems than Linux; or "fell back: " and
// the reason, if the last reload could not hand connections over to these listeners.
func (l *Listeners) State() string {
	switch failed := l.failed.Load(); {
	case runtime.GOOS != "linux":
		return unsupported
	case l.allOff.Load():
		return off
	case failed != nil:
		return fellBack + *failed
	}
	return on
}

// open returns the listeners, once the configuration has started. The caller holds the mutex.
func (l *Listeners) open() []*listener {
	if l.opened {
		return l.listeners
	}
	l.opened = true
	for _, server := range l.servers {
		if l.off[server] {
			continue
		}
		for _, bound := range server.Listeners() {
			if bound.Addr().Network() != "tcp" {
				continue // Caddy passes a Unix socket on
			}
			socket, _ := reuseport.Find(bound, listenAgain)
			l.listeners = append(l.listeners, &listener{Socket: socket, address: bound.Addr().String()})
		}
	}
	return l.listeners
}

// listenAgain is a [reuseport.Listen] by Caddy, which may have privileges for that which it only
// uses then.
func listenAgain(network, address string, config net.ListenConfig) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	parsed, err := caddy.ParseNetworkAddress(caddy.JoinNetworkAddress(network, host, port))
	if err != nil {
		return nil, err
	}
	opened, err := parsed.Listen(context.Background(), 0, config)
	if err != nil {
		return nil, err
	}
	return opened.(net.Listener), nil
}

// Hold keeps all new connections with these listeners. It is called on the newest configuration
// that runs, before another one opens its own listeners. If that one fails, this stays so until
// the next: these are the only listeners again, and only another process that came now would get
// no share.
func (l *Listeners) Hold() {
	mu.Lock()
	defer mu.Unlock()
	for _, own := range l.open() {
		if err := own.hold(); err != nil {
			l.logger.Debug("cannot keep connections from a configuration that has not started",
				zap.String("address", own.address), zap.Error(err))
		}
	}
}

func (l *listener) hold() error {
	if l.Socket == nil {
		return errHidden
	}
	group, err := l.Group()
	if err != nil {
		return err
	}
	// All sockets that join later have higher numbers.
	l.first = l.first || len(group) == 1
	if !l.first {
		return errShared
	}
	if err := l.Steer(0); err != nil {
		l.first = false
		return err
	}
	l.steered = true
	return nil
}

// Why an address is not handed over.
var (
	errHidden  = errors.New("a listener wrapper hides the socket")
	errShared  = errors.New("others listen there, too")
	errDropped = errors.New("the next configuration does not listen there, or does without the handover")
	errLate    = errors.New("the last configuration has not stopped listening in time")
)

// HandOver gives all new connections to the listeners of the next configuration, and blocks until
// the clients of this one should have moved there. Before it blocks it calls stopping, which has to
// make the configuration's answers end their connections. It does neither if it can hand over
// nothing.
func (l *Listeners) HandOver(next *Listeners, stopping func()) {
	if !l.pass(next) {
		return
	}
	stopping()
	<-l.pause(handoverTime)
	awaitQuiet(handoverLimit, l.pending)
}

// pending reports whether connections wait to be accepted, or for their first request.
func (l *Listeners) pending() bool {
	return slices.ContainsFunc(l.passed, func(passed *listener) bool {
		n, err := passed.Queued()
		return err == nil && n > 0
	}) || l.conns.any(handoverLimit)
}

// pass tells the kernel to give connections to the next listeners, and reports whether that worked
// for any.
func (l *Listeners) pass(next *Listeners) bool {
	mu.Lock()
	defer mu.Unlock()
	next.told = maps.Clone(l.told)
	others := next.open()
	for _, own := range l.open() {
		err := own.pass(others)
		if err == nil {
			l.passed = append(l.passed, own)
			continue
		}
		if own.steered { // as Caddy alone does it
			own.steered = own.Share() != nil
		}
		if errors.Is(err, errDropped) {
			l.logger.Debug("connections are not handed over",
				zap.String("address", own.address), zap.Error(err))
			continue
		}
		next.fallBack(own.address, err)
	}
	return len(l.passed) > 0
}

// fallBack notes that connections to an address were not handed over to these listeners. The log
// has it once, however many configurations follow.
func (l *Listeners) fallBack(address string, err error) {
	l.failed.Store(new(err.Error()))
	if key := address + " " + err.Error(); !l.told[key] {
		l.told[key] = true
		l.logger.Info("a reload falls back to Caddy's own way of changing listeners, by which it may lose a connection that has just begun",
			zap.String("address", address), zap.Error(err))
	}
}

func (l *listener) pass(others []*listener) error {
	i := slices.IndexFunc(others, func(other *listener) bool { return other.address == l.address })
	if i < 0 {
		return errDropped
	}
	next := others[i]
	switch {
	case l.Socket == nil || next.Socket == nil:
		return errHidden
	case !l.first || l.Inode == next.Inode:
		return errShared
	}
	if !waitUntil(settleTime, func() bool {
		group, err := l.Group()
		return err == nil && len(group) == 2 && slices.Contains(group, next.Inode)
	}) {
		return errShared
	}
	l.next = next
	return l.Steer(1)
}

// Release ends what HandOver began. It is called when Caddy has begun to close the listeners, and
// waits until they are closed. Only then the next socket is alone at its address, and is known to
// be the first one when a later configuration listens there.
func (l *Listeners) Release() {
	mu.Lock()
	defer mu.Unlock()
	for _, passed := range l.passed {
		alone := waitUntil(handoverLimit, func() bool {
			group, err := passed.next.Group()
			return err != nil || len(group) == 1
		})
		if !alone {
			l.logger.Debug("the last configuration still listens",
				zap.String("address", passed.address), zap.Error(errLate))
			continue
		}
		passed.next.first = true
		// Other sockets at the address get a share, as with Caddy alone.
		if err := passed.next.Share(); err != nil {
			l.logger.Debug("cannot give others a share of the connections",
				zap.String("address", passed.address), zap.Error(err))
		}
	}
	// Each listener refers to the next one. Without this, a configuration that is still in memory
	// would keep those of all later ones there.
	l.listeners, l.passed, l.servers = nil, nil, nil
}

// awaitQuiet waits, up to a limit, until busy has been false at quietLooks looks in a row.
func awaitQuiet(limit time.Duration, busy func() bool) {
	quiet := 0
	waitUntil(limit, func() bool {
		quiet++
		if busy() {
			quiet = 0
		}
		return quiet >= quietLooks
	})
}

// waitUntil waits, up to a limit, until a condition is true, and reports whether it is.
func waitUntil(limit time.Duration, condition func() bool) bool {
	late := time.After(limit)
	again := time.NewTicker(time.Millisecond) // the kernel has no event for it
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-late:
			return condition() // it may have become true while this goroutine was late
		}
	}
	return true
}
