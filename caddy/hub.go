package caddy

import (
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// pool holds the hubs, by name. What is in it outlives the configurations that
// use it, and with it every connection.
var pool = caddy.NewUsagePool()

// A hub is a realtime.Hub and the endpoints that lead to it.
type hub struct {
	*realtime.Hub
	brokerName string

	mu        sync.Mutex
	endpoints map[string]*endpoint
	tenures   []tenure // the newest last
	draining  bool
}

// newHub is the pool's constructor.
func newHub(name string, broker cluster.Broker) (*hub, error) {
	brokerName := "memory"
	if broker == nil {
		broker = membroker.New(membroker.Options{})
	} else if module, ok := broker.(caddy.Module); ok {
		brokerName = module.CaddyModule().ID.Name()
	}
	h, err := realtime.NewHub(realtime.Options{
		Name:   name,
		Broker: broker,
		Logger: caddy.Log().Named("realtime"), // no configuration's own: the hub outlives them
	})
	if err != nil {
		return nil, err
	}
	return &hub{Hub: h, brokerName: brokerName, endpoints: make(map[string]*endpoint)}, nil
}

// Destruct implements caddy.Destructor. The endpoints have been closed by then.
func (h *hub) Destruct() error { return h.Close() }

// endpoint returns the endpoint of a name, which is new if there is none.
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

// remove forgets an endpoint that no configuration has any more.
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

// drain begins to close every connection. It is called when Caddy exits, and
// does not wait: whoever drops the endpoints does.
func (h *hub) drain() {
	h.mu.Lock()
	first := !h.draining
	h.draining = true
	h.mu.Unlock()
	if !first {
		return
	}
	for _, e := range h.all() {
		l := e.current.Load()
		if l == nil {
			continue // it is about to begin
		}
		// The apps stop next, and close at once what nobody has begun to close.
		e.beginClose(l.settings.drain) // joined by lease.drop
	}
}
