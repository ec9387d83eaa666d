package caddy

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A hubBroker is a configuration's broker for a hub. The zero value is the one for a single node.
type hubBroker struct {
	cluster.Broker        // nil for the zero value
	key            string // is different for another broker, or for other options of it
}

// load loads the broker of a hub's options.
func (a *App) loadBroker(options *HubOptions) (hubBroker, error) {
	if options.BrokerRaw == nil {
		return hubBroker{}, nil
	}
	b := hubBroker{key: brokerKey(options.BrokerRaw)} // before LoadModule, which clears BrokerRaw
	guest, err := a.ctx.LoadModule(options, "BrokerRaw")
	if err != nil {
		return hubBroker{}, fmt.Errorf("loading broker: %w", err)
	}
	if _, single := guest.(*MemoryBroker); single {
		return hubBroker{}, nil
	}
	broker, ok := guest.(cluster.Broker)
	if !ok {
		return hubBroker{}, fmt.Errorf("the module %T in realtime.brokers is no cluster.Broker", guest)
	}
	if filled, ok := broker.(interface{ filledIn() string }); ok {
		b.key += filled.filledIn()
	}
	b.Broker = broker
	return b, nil
}

// brokerKey returns a text that is different for another broker, or for other options of it.
func brokerKey(raw json.RawMessage) string {
	var options any
	if err := json.Unmarshal(raw, &options); err != nil {
		return string(raw)
	}
	key, err := json.Marshal(options) // with sorted members and without spaces
	if err != nil {
		return string(raw)
	}
	return string(key)
}

// close closes a broker that no hub has. A hub closes its own.
func (b hubBroker) close(h *hub) error {
	if b.Broker == nil || h != nil && h.currentBroker().Broker == b.Broker {
		return nil
	}
	return b.Close()
}

// forHub returns what the hub needs: nil for a single node.
func (b hubBroker) forHub() cluster.Broker {
	if b.Broker == nil {
		return nil
	}
	return b.Broker
}

// warnUnlessKeyed logs that polling needs sticky sessions, if it does.
func (b hubBroker) warnUnlessKeyed(hub string, logger *zap.Logger) {
	if holder, ok := b.Broker.(cluster.KeyHolder); ok && len(holder.ClusterKey()) == 0 {
		logger.Warn("polling needs sticky sessions: the broker has neither a cluster_key nor a password", zap.String("hub", hub))
	}
}

// name returns the broker's name in configurations.
func (b hubBroker) name() string {
	if module, ok := b.Broker.(caddy.Module); ok {
		return module.CaddyModule().ID.Name()
	}
	return "memory"
}

// isRequired reports whether the configuration says that the broker must be connected.
func (b hubBroker) isRequired() bool {
	broker, ok := b.Broker.(interface{ required() bool })
	return ok && broker.required()
}

// probe connects a broker, for a hub that has another one so far. The error says that the hub cannot
// have it: then the configuration is refused before anything changes.
func (b hubBroker) probe(ctx context.Context) error {
	if b.Broker == nil {
		return nil
	}
	s, err := b.Subscribe(ctx, "probe", func(cluster.Envelope) {})
	if err != nil {
		return err
	}
	return s.Close()
}

// A bridger is a broker that may connect its hub with servers of other kinds, too.
type bridger interface{ openBridge(h *realtime.Hub) }

// openBridge replaces the hub's connection with servers of other kinds by that of this broker.
func (b hubBroker) openBridge(h *realtime.Hub) {
	h.SetBridge(nil)
	if own, ok := b.Broker.(bridger); ok {
		own.openBridge(h)
	}
}

// currentBroker returns the broker that the hub has now.
func (h *hub) currentBroker() hubBroker {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broker
}

// setBroker gives the hub the broker of another configuration, unless it is the same. The hub
// closes the former one.
func (h *hub) setBroker(b hubBroker, logger *zap.Logger) {
	h.brokerMu.Lock()
	defer h.brokerMu.Unlock()
	former := h.currentBroker()
	if former.key == b.key {
		return
	}
	fields := []zap.Field{zap.String("hub", h.Name()), zap.String("broker", b.name())}
	if err := h.SetBroker(b.forHub()); err != nil {
		logger.Error("replacing the broker: the hub keeps the former one", append(fields, zap.Error(err))...)
		return
	}
	b.openBridge(h.Hub)
	h.mu.Lock()
	h.broker = b
	h.mu.Unlock()
	logger.Info("broker replaced", fields...)
	b.warnUnlessKeyed(h.Name(), logger)
}

// brokerState returns whether the broker is connected; nil if it has no connection. Lacking reports
// that it is not, and that the configuration says that it must be.
func (h *hub) brokerState() (connected *bool, lacking bool) {
	b := h.currentBroker()
	reporter, ok := b.Broker.(cluster.HealthReporter)
	if !ok {
		return nil, false
	}
	is := reporter.Health() == nil
	return &is, !is && b.isRequired()
}
