package caddy

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// pool holds the hubs, by their keys, and the generations. Hubs outlive the
// configurations that use them, and so do their connections.
var pool = caddy.NewUsagePool()

// A hubKey is the name of a hub.
type hubKey string

// A hub is a realtime.Hub and the endpoints that lead to it.
type hub struct {
	*realtime.Hub
	generations *generations

	brokerMu sync.Mutex // held while the broker changes

	mu        sync.Mutex
	broker    hubBroker
	endpoints map[string]*endpoint
	draining  bool
}

// newHub returns a hub without endpoints.
func newHub(name string, broker hubBroker, all *generations) (*hub, error) {
	h, err := realtime.NewHub(realtime.Options{
		Name:   name,
		Broker: broker.forHub(),
		Logger: processLogger(),
	})
	if err != nil {
		return nil, err
	}
	broker.openBridge(h)
	broker.warnUnlessKeyed(name, processLogger())
	wrapped := &hub{Hub: h, broker: broker, generations: all, endpoints: make(map[string]*endpoint)}
	h.SetStats(wrapped.fillStats)
	return wrapped, nil
}

// processLogger returns the logger of what outlives a configuration.
func processLogger() *zap.Logger { return caddy.Log().Named("realtime") }

// Destruct implements caddy.Destructor. It must be called after the endpoints have been closed.
func (h *hub) Destruct() error { return h.Close() }

// endpoint returns the endpoint of a name. It makes a new one if there is none.
func (h *hub) endpoint(name string) *endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.endpoints[name]
	if !ok || e.isClosing() {
		e = newEndpoint(h, name)
		h.endpoints[name] = e
	}
	return e
}

// current returns the newest reference to the endpoint of a name; nil if no configuration has it.
func (h *hub) current(name string) *reference {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.endpoints[name]
	if !ok || e.isClosing() {
		return nil
	}
	return e.current.Load()
}

// remove removes an endpoint that no configuration has any more.
func (h *hub) remove(e *endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.endpoints[e.name] == e {
		delete(h.endpoints, e.name)
	}
}

func (h *hub) all() []*endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.endpoints))
}

// connections returns how many connections are open on this node.
func (h *hub) connections() int {
	n := 0
	for _, e := range h.all() {
		n += e.servers.Load().connections()
	}
	return n
}

// transports returns how many connections are open, by transport.
func (h *hub) transports() map[string]int {
	counts := map[string]int{"polling": 0, "websocket": 0}
	for _, e := range h.all() {
		e.servers.Load().countTransports(counts)
	}
	return counts
}

func (h *hub) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// shut begins the end of the hub: its health says so, and it accepts no more connections.
func (h *hub) shut() {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	for _, e := range h.all() {
		e.servers.Load().shut()
	}
}

// close ends every connection, those of each endpoint spread over its window. It waits
// until all have ended, or ctx ends. It reports no error: the configuration's references
// do so when they are dropped.
func (h *hub) close(ctx context.Context) {
	var waits sync.WaitGroup
	for _, e := range h.all() {
		if r := e.current.Load(); r != nil {
			waits.Go(func() { _ = e.close(ctx, r.window) })
		}
	}
	waits.Wait()
}
