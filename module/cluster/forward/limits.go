package forward

import (
	"net/netip"
	"sync"
)

// How many requests are forwarded at a time, in all and of one address. A client that polls has one or
// two; one that has moved to WebSocket over another node has one.
const (
	maxForwarded  = 1 << 14
	maxPerAddress = maxForwarded / 4
)

// limits count the requests that are being forwarded.
type limits struct {
	mu        sync.Mutex
	all       int
	byAddress map[string]int
}

// acquire counts a request of a client. It returns false if there are too many.
func (l *limits) acquire(client string) (release func(), ok bool) {
	address := network(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxForwarded || l.byAddress[address] >= maxPerAddress {
		return nil, false
	}
	l.all++
	l.byAddress[address]++
	return func() { l.release(address) }, true
}

func (l *limits) release(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.byAddress[address]--; l.byAddress[address] == 0 {
		delete(l.byAddress, address)
	}
}

// network returns what counts as one address: with IPv6, a client has 2^64 of them.
func network(client string) string {
	ip, err := netip.ParseAddr(client)
	if err != nil || ip.Is4() || ip.Is4In6() {
		return client
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return client
	}
	return prefix.String()
}
