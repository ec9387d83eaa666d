package caddy

import (
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/drain"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/handover"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/sharedport"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A generation is what one loaded configuration owns at run time: its hold on hubs and endpoints,
// the listeners of its servers, and its exit. Hubs, endpoints and connections outlive it.
type generation struct {
	hubs       map[string]*hub              // by name; the pool counts the configuration for each
	recovery   map[string]realtime.Recovery // the hubs' options, by name
	brokers    map[string]hubBroker         // the same
	endpoints  map[string]*reference        // by name, as handlers have registered them
	references []*reference                 // those that endpoints have; guarded by generations
	listeners  *handover.Listeners
	exit       *drain.Exit

	started  chan struct{} // closed when the configuration has started
	stopping chan struct{} // closed when it stops, or is about to
	stop     sync.Once
	leaving  bool // another generation takes over; guarded by generations
}

func newGeneration() *generation {
	return &generation{
		hubs:      make(map[string]*hub),
		recovery:  make(map[string]realtime.Recovery),
		brokers:   make(map[string]hubBroker),
		endpoints: make(map[string]*reference),
		started:   make(chan struct{}),
		stopping:  make(chan struct{}),
	}
}

// beginStopping has long polls answered at once, and makes each answer the last on its connection.
func (g *generation) beginStopping() { g.stop.Do(func() { close(g.stopping) }) }

// addServer adds a server with an endpoint, before it starts.
func (g *generation) addServer(ctx caddy.Context, handoverOff bool) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && g.listeners.Add(server, handoverOff) {
		server.RegisterOnStop(g.exit.Wait)
	}
}

// generations are those that have started and not ended, oldest first. At a reload there are two
// for a while, and more if one takes its time to end. Hubs, endpoints and listeners ask here which
// configuration is the newest that has them. Endpoints also ask which backend to tell of
// disconnects. All methods may be called concurrently.
type generations struct {
	mu    sync.Mutex
	all   []*generation
	ports *sharedport.Watch
}

// generationsKey is the key of the generations in the pool.
type generationsKey struct{}

// loadGenerations returns the generations of the process. The caller deletes generationsKey from
// the pool afterwards.
func loadGenerations() (*generations, error) {
	value, _, err := pool.LoadOrNew(generationsKey{}, func() (caddy.Destructor, error) {
		return &generations{ports: sharedport.New(processLogger)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*generations), nil
}

// Destruct implements [caddy.Destructor].
func (g *generations) Destruct() error {
	g.ports.Close()
	return nil
}

// add adds the newest generation.
func (g *generations) add(newest *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, newest)
}

// leave marks a generation as one that newest and newestWith do not return any more.
func (g *generations) leave(old *generation) {
	old.beginStopping()
	g.mu.Lock()
	defer g.mu.Unlock()
	old.leaving = true
}

// remove removes a generation whose settings nothing uses any more.
func (g *generations) remove(old *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = slices.DeleteFunc(g.all, func(other *generation) bool { return other == old })
}

// newest returns the newest generation; nil if there is none.
func (g *generations) newest() *generation {
	return g.find(func(*generation) bool { return true })
}

// newestWith returns the newest generation that has a hub; nil if there is none.
func (g *generations) newestWith(h *hub) *generation {
	return g.find(func(other *generation) bool { return other.hubs[h.Name()] == h })
}

func (g *generations) find(good func(*generation) bool) *generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, candidate := range slices.Backward(g.all) {
		if !candidate.leaving && good(candidate) {
			return candidate
		}
	}
	return nil
}

// use adds a reference to those of its generation, and widens the limits of the hub to the
// reference's.
func (g *generations) use(r *reference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.generation.references = append(r.generation.references, r)
	g.setLimits(r.endpoint.hub)
}

// drop marks a reference as one that its endpoint does not have any more. The hub's limits still
// include the reference's.
func (g *generations) drop(r *reference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.dropped = true
}

// forget removes a reference whose settings nothing uses any more, and narrows the hub's limits.
func (g *generations) forget(r *reference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.generation.references = slices.DeleteFunc(r.generation.references, func(other *reference) bool { return other == r })
	g.setLimits(r.endpoint.hub)
}

// referencesTo returns those that an endpoint has, oldest first.
func (g *generations) referencesTo(e *endpoint) []*reference {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*reference
	for _, generation := range g.all {
		for _, r := range generation.references {
			if r.endpoint == e && !r.dropped {
				found = append(found, r)
			}
		}
	}
	return found
}

// newestBackend returns the backend of the newest reference to an endpoint that has one and that
// has not been forgotten; nil if there is none.
func (g *generations) newestBackend(e *endpoint) *Backend {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, generation := range slices.Backward(g.all) {
		for _, r := range generation.references {
			if r.endpoint == e && r.settings.backend != nil {
				return r.settings.backend
			}
		}
	}
	return nil
}

// setLimits gives a hub the widest limits of all references to its endpoints. The caller holds the
// mutex.
func (g *generations) setLimits(h *hub) {
	var limits []realtime.Limits
	for _, generation := range g.all {
		for _, r := range generation.references {
			if r.endpoint.hub == h {
				limits = append(limits, r.settings.policy.Limits)
			}
		}
	}
	h.SetLimits(realtime.Widest(limits...))
}

// Interface guards
var _ caddy.Destructor = (*generations)(nil)
