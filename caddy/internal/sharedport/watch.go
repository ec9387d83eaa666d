// Package sharedport warns of another process that listens where this one does.
//
// It exists since, on Linux, Caddy opens listeners with SO_REUSEPORT. A second server of the same
// user can then listen at the same address without an error. Each of the two gets a part of the
// connections, and a client that polls asks a server that does not know its session.
//
// It finds the sockets of others in the kernel's tables of this network namespace. Other systems
// than Linux have no such tables, and nothing is found there.
package sharedport

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// A Watch looks whether other processes listen at the addresses of this one. It belongs to the
// process, not to one configuration. All methods may be called concurrently.
type Watch struct {
	logger func() *zap.Logger
	find   func([]netip.AddrPort) ([]socket, error)

	mu      sync.Mutex
	looked  []netip.AddrPort // the addresses of the last call of Look
	running sync.WaitGroup

	ctx   context.Context // ends when the Watch is closed
	close context.CancelFunc
}

// A socket is one by which another process gets connections to an address of this process.
type socket struct {
	inode   uint64
	address netip.AddrPort // of this process
}

// New returns a Watch that logs to what logger returns at the time. The caller must close it.
func New(logger func() *zap.Logger) *Watch {
	w := &Watch{logger: logger, find: find}
	w.ctx, w.close = context.WithCancel(context.Background())
	return w
}

// Look looks at those addresses of listeners that the last call did not have. It does not block.
//
// A process that is about to exit may still listen, such as the one that this process replaces. So
// Look logs only what is still there after the given time: how long an exit takes.
func (w *Watch) Look(listeners []net.Listener, exit time.Duration) {
	var addresses []netip.AddrPort
	for _, listener := range listeners {
		if bound, ok := listener.Addr().(*net.TCPAddr); ok {
			addresses = append(addresses, plain(bound.AddrPort()))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	added := slices.DeleteFunc(slices.Clone(addresses), func(address netip.AddrPort) bool {
		return slices.Contains(w.looked, address)
	})
	w.looked = addresses
	if len(added) > 0 && w.ctx.Err() == nil {
		w.running.Go(func() { w.watch(added, exit) })
	}
}

// plain returns an address as the kernel's tables have it.
func plain(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap().WithZone(""), address.Port())
}

func (w *Watch) watch(addresses []netip.AddrPort, exit time.Duration) {
	before, err := w.find(addresses)
	if err != nil {
		w.logger().Debug("cannot see who else listens", zap.Error(err))
		return
	}
	if len(before) == 0 {
		return
	}
	select {
	case <-time.After(exit):
	case <-w.ctx.Done():
		return
	}
	after, err := w.find(addresses)
	if err != nil || caddy.Exiting() { // at an exit, the next process may listen already
		return
	}
	var shared []string
	for _, found := range after {
		if text := found.address.String(); slices.Contains(before, found) && !slices.Contains(shared, text) {
			shared = append(shared, text)
		}
	}
	if len(shared) > 0 {
		w.logger().Warn("another process listens at the same address and gets a part of the connections: "+
			"end the one that was started by mistake, or have one of them listen at another port",
			zap.Strings("addresses", shared))
	}
}

// Close ends what Look has begun, and waits for it.
func (w *Watch) Close() {
	w.mu.Lock()
	w.close()
	w.mu.Unlock()
	w.running.Wait()
}
