package caddy

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// pool holds the hubs, by their keys, and the generations. Hubs outlive the
// configurations that use them, and so do their connections.
var pool = caddy.NewUsagePool()

// A hubKey identifies a hub by its name and its broker. With another broker it is
// another hub: the broker cannot be replaced while clients are connected.
type hubKey struct{ name, broker string }

// A hub is a realtime.Hub and the endpoints that lead to it.
type hub struct {
	*realtime.Hub
	key         hubKey
	broker      cluster.Broker
	brokerName  string
	generations *generations

	mu        sync.Mutex
	endpoints map[string]*endpoint
	draining  bool

	outdated bool // the store may have a snapshot that is out of date; for restore and save
}

// newHub returns a hub without endpoints. A nil broker is the one for a single node.
func newHub(key hubKey, broker cluster.Broker, all *generations) (*hub, error) {
	brokerName := "memory"
	if _, single := broker.(*MemoryBroker); single {
		broker = nil
	} else if module, ok := broker.(caddy.Module); ok {
		brokerName = module.CaddyModule().ID.Name()
	}
	h, err := realtime.NewHub(realtime.Options{
		Name:   key.name,
		Broker: broker,
		Logger: processLogger(),
	})
	if err != nil {
		return nil, err
	}
	wrapped := &hub{Hub: h, key: key, broker: broker, brokerName: brokerName, generations: all, endpoints: make(map[string]*endpoint)}
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

// isReplaced reports whether there is a hub of the same name with another broker.
func (h *hub) isReplaced() bool {
	replaced := false
	pool.Range(func(key, _ any) bool {
		other, isHub := key.(hubKey)
		replaced = isHub && other.name == h.key.name && other != h.key
		return !replaced
	})
	return replaced
}

// brokerState returns whether the broker is connected; nil if it has no connection. Lacking reports
// that it is not, and that the configuration says that it must be.
func (h *hub) brokerState() (connected *bool, lacking bool) {
	reporter, ok := h.broker.(cluster.HealthReporter)
	if !ok {
		return nil, false
	}
	is := reporter.Health() == nil
	must, ok := h.broker.(interface{ required() bool })
	return &is, !is && ok && must.required()
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
