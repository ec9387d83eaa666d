package caddy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

func init() { caddy.RegisterModule(new(App)) }

// defaultDrain is how long the sessions of a hub take to close at exit.
const defaultDrain = 10 * time.Second

// App holds what endpoints share: hubs, by name. The hub "default" needs no
// options, and so the app need not be configured at all.
type App struct {
	// Hubs holds the options of hubs, by their names.
	Hubs map[string]*HubOptions `json:"hubs,omitempty"`

	ctx       caddy.Context
	logger    *zap.Logger
	brokers   map[string]cluster.Broker
	hubs      map[string]*hub      // those that the pool counts this app for
	endpoints map[string]*settings // by name, as handlers have registered them
	started   chan struct{}        // closed by Start
	stopped   chan struct{}        // closed by Stop
	stop      sync.Once
}

// HubOptions are the options of one hub.
type HubOptions struct {
	// Broker carries broadcasts between the nodes of a cluster. It is used as
	// long as the hub lives, and that is longer than one configuration: it must
	// not connect when provisioned, nor be cleaned up. The hub closes it.
	// Default: memory, for a single node.
	BrokerRaw json.RawMessage `json:"broker,omitempty" caddy:"namespace=realtime.brokers inline_key=broker"`

	// Recovery lets clients whose connection broke come back to their sockets.
	// Default: off.
	Recovery *Recovery `json:"recovery,omitempty"`

	// Drain is how long the closing of the hub's sessions is spread when Caddy
	// exits. Default 10s.
	Drain *caddy.Duration `json:"drain,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime", New: func() caddy.Module { return new(App) }}
}

// Provision implements caddy.Provisioner.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.brokers = make(map[string]cluster.Broker)
	a.hubs = make(map[string]*hub)
	a.endpoints = make(map[string]*settings)
	a.started = make(chan struct{})
	a.stopped = make(chan struct{})

	for name, options := range a.Hubs {
		if options == nil {
			return fmt.Errorf("hub %q: options are missing; an empty object will do", name)
		}
		if err := options.Recovery.validate(); err != nil {
			return fmt.Errorf("hub %q: %w", name, err)
		}
		broker, err := a.loadBroker(options)
		if err != nil {
			return fmt.Errorf("hub %q: %w", name, err)
		}
		a.brokers[name] = broker
	}

	// An exit begins with this event; Caddy's HTTP app then waits for requests
	// that have not been answered, and so for our long-polls.
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	return events.(*caddyevents.App).On("stopping", stoppingHandler{a})
}

func (a *App) loadBroker(options *HubOptions) (cluster.Broker, error) {
	if options.BrokerRaw == nil {
		return nil, nil
	}
	guest, err := a.ctx.LoadModule(options, "BrokerRaw")
	if err != nil {
		return nil, fmt.Errorf("loading broker: %w", err)
	}
	broker, ok := guest.(cluster.Broker)
	if !ok {
		return nil, fmt.Errorf("the module %T in realtime.brokers is no cluster.Broker", guest)
	}
	return broker, nil
}

// hub returns the hub of a name, which lives as long as any configuration
// uses it.
func (a *App) hub(name string) (*hub, error) {
	if h, ok := a.hubs[name]; ok {
		return h, nil
	}
	value, _, err := pool.LoadOrNew(name, func() (caddy.Destructor, error) { return newHub(name, a.brokers[name]) })
	if err != nil {
		return nil, fmt.Errorf("hub %q: %w", name, err)
	}
	h := value.(*hub)
	a.hubs[name] = h
	return h, nil
}

// register enters a handler's endpoint. A second handler of the same name gets
// what the first one registered.
func (a *App) register(s *settings) (*settings, error) {
	if first, ok := a.endpoints[s.name]; ok {
		if !first.equal(s) {
			return nil, fmt.Errorf("two realtime blocks are named %q but differ: make them identical, or give one of them another name", s.name)
		}
		return first, nil
	}
	h, err := a.hub(s.hubName)
	if err != nil {
		return nil, err
	}
	s.hub = h
	a.endpoints[s.name] = s
	return s, nil
}

// Start implements caddy.App. Only now do hubs and endpoints take their new
// settings: a configuration that could not be provisioned has changed nothing.
func (a *App) Start() error {
	for name, h := range a.hubs {
		h.push(a, a.Hubs[name])
	}
	for _, s := range a.endpoints {
		s.drain = a.drain(s.hubName)
		s.lease = s.hub.endpoint(s.name).push(s)
		a.logger.Info("realtime ready",
			zap.String("endpoint", s.name),
			zap.Strings("paths", s.paths()),
			zap.String("hub", s.hubName),
			zap.String("broker", s.hub.brokerName))
	}
	close(a.started)
	return nil
}

func (a *App) drain(hub string) time.Duration {
	if options := a.Hubs[hub]; options != nil && options.Drain != nil {
		return time.Duration(*options.Drain)
	}
	return defaultDrain
}

// patience is how long Stop waits, beyond the time that draining takes, for
// what its settings are still needed for.
const patience = 30 * time.Second

// Stop implements caddy.App. It waits until nothing is done by this app's
// settings any more, since Caddy cleans their guests up afterwards. Endpoints
// that no other configuration has are closed.
func (a *App) Stop() error {
	a.stop.Do(func() { close(a.stopped) })
	for _, h := range a.hubs {
		h.drop(a)
	}
	limit := patience
	for _, s := range a.endpoints {
		limit = max(limit, patience+a.drain(s.hubName))
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, errors.New("connections did not end in time"))
	defer cancel()
	var waits sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for _, s := range a.endpoints {
		if s.lease == nil {
			continue // never started
		}
		waits.Go(func() {
			if err := s.lease.drop(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, fmt.Errorf("stopping endpoint %q: %w", s.name, err))
			}
		})
	}
	waits.Wait()
	return failed
}

// Cleanup implements caddy.CleanerUpper.
func (a *App) Cleanup() error {
	var failed error
	for name := range a.hubs {
		if _, err := pool.Delete(name); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// stoppingHandler begins to drain the app's hubs when Caddy exits. The event
// also comes before a reload's old configuration stops; that is no reason to
// close anything.
type stoppingHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h stoppingHandler) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		for _, hub := range h.app.hubs {
			hub.drain()
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = stoppingHandler{}
)
