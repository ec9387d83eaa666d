package caddy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/drain"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/handover"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/storage"
)

func init() { caddy.RegisterModule(new(App)) }

// defaultDrain is the default of HubOptions.Drain.
const defaultDrain = 10 * time.Second

// handoverPause starts the timer of a reload's wait. Only tests replace it, to end the wait
// themselves.
var handoverPause = time.After

// App holds the hubs, which endpoints share. It needs no configuration: a hub without options has
// the defaults.
//
// When Caddy exits, the app closes connections one after the other, while the server still serves
// the others. The HTTP app's shutdown_delay passes before that. The app waits for connections that
// do not end for 30s, or for the HTTP app's grace_period if that is shorter.
type App struct {
	// Hubs are the options of hubs, by the hubs' names. Endpoints without a hub's name use the hub
	// "default".
	Hubs map[string]*HubOptions `json:"hubs,omitempty"`

	ctx       caddy.Context
	logger    *zap.Logger
	store     *storage.Store // nil if there is no storage; storeless says why
	storeless error

	*generation
	generations *generations
}

// HubOptions are the options of one hub.
type HubOptions struct {
	// Broker carries broadcasts between the nodes of a cluster. Default: memory, for a single node.
	//
	// When a reload changes the broker or its options, the hub replaces its broker. No connection is
	// closed for it, and clients that are away at that moment cannot recover their sockets. A broker
	// is used as long as its hub has it, which is longer than one configuration. So its Provision
	// must not connect, and it must have no Cleanup: it is closed when no hub has it.
	BrokerRaw json.RawMessage `json:"broker,omitempty" caddy:"namespace=realtime.brokers inline_key=broker"`

	// Recovery lets a client whose connection broke get its socket back, with the events that it
	// missed. Default: off.
	Recovery *Recovery `json:"recovery,omitempty"`

	// Drain is the time over which the hub's connections are closed, one after the other, so that
	// not all clients reconnect at once. It applies when Caddy exits, and when a reload removes
	// their endpoint. Connections that are busy get a tenth more. 0 closes all connections at once.
	// Default 10s.
	Drain *caddy.Duration `json:"drain,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime", New: func() caddy.Module { return new(App) }}
}

// Provision implements caddy.Provisioner.
func (a *App) Provision(ctx caddy.Context) error {
	if caddy.Exiting() {
		// Otherwise, restore would read and remove what the exit has just saved for the next process.
		return errors.New("this Caddy is exiting, and loads no configuration any more")
	}
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.generation = newGeneration()
	a.exit = drain.New(ctx)
	a.listeners = handover.New(a.logger, handoverPause)
	var err error
	if a.generations, err = loadGenerations(); err != nil {
		return err
	}
	if a.store, a.storeless = storage.New(ctx); a.store == nil && a.recovers() {
		a.logger.Error("recovery will not survive this process: "+
			"clients will start anew after a restart", zap.Error(a.storeless))
	}

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
		a.recovery[name] = options.Recovery.settings()
	}

	if newest := a.generations.newest(); newest != nil {
		newest.listeners.Hold()
	}
	// Caddy sends this event before it stops the apps of a configuration, at an exit and at
	// a reload. The HTTP app then waits for requests that have not been answered, such as
	// long polls.
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	if err := events.(*caddyevents.App).On("stopping", stoppingHandler{a}); err != nil {
		return err
	}
	// At this event, unlike at Start, the listeners of all servers are open.
	return events.(*caddyevents.App).On("started", startedHandler{a})
}

// recovers reports whether recovery is on in any hub.
func (a *App) recovers() bool {
	for _, options := range a.Hubs {
		if options != nil && options.Recovery != nil {
			return true
		}
	}
	return false
}

// hub returns the hub of a name. The hub lives as long as any configuration uses it.
func (a *App) hub(name string) (*hub, error) {
	if h, ok := a.hubs[name]; ok {
		return h, nil
	}
	broker := a.brokers[name]
	value, loaded, err := pool.LoadOrNew(hubKey(name), func() (caddy.Destructor, error) {
		return newHub(name, broker, a.generations)
	})
	if err != nil {
		return nil, fmt.Errorf("hub %q: %w", name, err)
	}
	h := value.(*hub)
	a.hubs[name] = h
	if loaded && h.currentBroker().key != broker.key {
		if err := broker.probe(a.ctx); err != nil {
			return nil, fmt.Errorf("hub %q: %w", name, err)
		}
	}
	return h, nil
}

// register registers the endpoint of a handler, and returns the reference to it. A second
// handler of the same name gets the reference of the first.
func (a *App) register(s *settings) (r *reference, err error) {
	if first, ok := a.endpoints[s.name]; ok {
		if !first.settings.equal(s) {
			return nil, fmt.Errorf("two realtime blocks are named %q but differ: "+
				"make them identical, or give one of them another name", s.name)
		}
		return first, nil
	}
	h, err := a.hub(s.hubName)
	if err != nil {
		return nil, err
	}
	r = newReference(a.generation, s, h, a.window(s.hubName))
	a.endpoints[s.name] = r
	return r, nil
}

// Start implements caddy.App. Hubs and endpoints get their new settings here and not in Provision,
// so that a configuration whose provisioning fails changes nothing.
func (a *App) Start() error {
	var unused []*hub // that no running configuration has
	for _, h := range a.hubs {
		if a.generations.newestWith(h) == nil {
			unused = append(unused, h)
		}
	}
	a.generations.add(a.generation)
	for _, h := range unused {
		// In a hub that another configuration has, recovery changes when that one stops. Before, this
		// configuration may still fail to start, and what a change of recovery drops would be lost.
		h.setBroker(a.brokers[h.Name()], a.logger)
		h.SetRecovery(a.recovery[h.Name()])
		h.restore(a.storeOf(h), a.logger)
	}
	for _, r := range a.endpoints {
		s := r.settings
		r.hub.endpoint(s.name).take(r)
		fields := []zap.Field{
			zap.String("endpoint", s.name),
			zap.Strings("paths", s.paths()),
			zap.String("hub", s.hubName),
			zap.String("broker", a.brokers[s.hubName].name()),
			zap.String("version", Version()),
		}
		if s.backend != nil { // clients get 404 for these paths
			fields = append(fields, zap.Strings("closed", []string{s.backend.path, s.backend.path + "/*"}))
		}
		a.logger.Info("realtime ready", fields...)
	}
	a.warn()
	a.warnHidden()
	close(a.started)
	return nil
}

// storeOf returns the store of a hub; nil if there is none. It depends on the backends of
// the hub's endpoints: if one Caddy first serves one application and then another one, the
// second does not get the sockets of the first.
func (a *App) storeOf(h *hub) *storage.Store {
	if a.store == nil {
		return nil
	}
	var backends []string
	for _, name := range slices.Sorted(maps.Keys(a.endpoints)) {
		if r := a.endpoints[name]; r.hub == h && r.settings.backend != nil {
			backends = append(backends, r.settings.backend.identity())
		}
	}
	return storeFor(a.store, backends...)
}

// warn logs hubs without options and options without a hub: a name may be misspelled.
func (a *App) warn() {
	used := make(map[string]bool)
	for _, r := range a.endpoints {
		s := r.settings
		used[s.hubName] = true
		if s.hubName != defaultName && a.Hubs[s.hubName] == nil && len(a.Hubs) > 0 {
			a.logger.Warn("the endpoint's hub has no options, unlike others: is its name right?",
				zap.String("endpoint", s.name), zap.String("hub", s.hubName), zap.Strings("hubs", slices.Sorted(maps.Keys(a.Hubs))))
		}
	}
	for name := range a.Hubs {
		if !used[name] {
			a.logger.Warn("no endpoint uses the hub: is its name right?", zap.String("hub", name))
		}
	}
}

// Stop implements caddy.App. It waits until nothing uses this app's settings any more,
// since Caddy cleans their guests up afterwards. It closes endpoints that no other
// configuration has.
func (a *App) Stop() error {
	if a.exit.Begun() { // drain has called finish, or will: the HTTP app waits for it
		return nil
	}
	return a.finish()
}

// Cleanup implements caddy.CleanerUpper.
func (a *App) Cleanup() error {
	if a.generation == nil { // Provision has refused, since Caddy is exiting
		return nil
	}
	a.listeners.Release()
	var failed error
	for name, b := range a.brokers {
		failed = errors.Join(failed, b.close(a.hubs[name]))
	}
	for name := range a.hubs {
		if _, err := pool.Delete(hubKey(name)); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if a.generations != nil {
		_, err := pool.Delete(generationsKey{})
		failed = errors.Join(failed, err)
	}
	return failed
}

// stoppingHandler handles the event that Caddy sends before it stops a configuration. At an
// exit, it ends the app's connections. At a reload, it hands new connections over to the
// listeners of the new configuration.
type stoppingHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h stoppingHandler) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		h.app.drain()
		return nil
	}
	if newest := h.app.generations.newest(); newest != nil && newest != h.app.generation {
		h.app.listeners.HandOver(newest.listeners, h.app.beginStopping)
	}
	return nil
}

// startedHandler handles the event that Caddy sends when all apps have started. It looks whether
// another process listens where the endpoints' servers do.
type startedHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h startedHandler) Handle(context.Context, caddy.Event) error {
	var listeners []net.Listener
	for _, server := range h.app.listeners.Servers() {
		listeners = append(listeners, server.Listeners()...)
	}
	h.app.generations.ports.Look(listeners, h.app.exit.Longest(h.app.longestWindow()))
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = stoppingHandler{}
	_ caddyevents.Handler = startedHandler{}
)
