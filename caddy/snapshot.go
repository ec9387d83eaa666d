package caddy

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/storage"
)

// snapshotName is the name of a hub's snapshot in the store of the hub.
const snapshotName = "recovery"

// storageTime is how long the storage may take for a snapshot.
const storageTime = 10 * time.Second

func (h *hub) store(s *storage.Store) *storage.Store { return s.Under(h.Name()) }

// storeFor returns the store under s for some backends, which are given by their identities.
// Without any, it is a store of its own.
func storeFor(s *storage.Store, backends ...string) *storage.Store {
	if len(backends) == 0 {
		return s.Under("no backend")
	}
	return s.Under("backend " + strings.Join(backends, " "))
}

// save stores what clients need to recover their sockets. It is called when no
// configuration has the hub any more; the hub refuses events from now on. The store may
// be nil.
func (h *hub) save(s *storage.Store, logger *zap.Logger) {
	data, sockets, err := h.Seal()
	ctx, cancel := context.WithTimeout(context.Background(), storageTime)
	defer cancel()
	switch {
	case err != nil || s == nil:
	case data == nil:
		// A process that ended while this one ran may have stored a snapshot.
		err = h.store(s).Remove(ctx, snapshotName)
	default:
		if err = h.store(s).Write(ctx, snapshotName, data); err == nil {
			logger.Info("recovery saved",
				zap.String("hub", h.Name()), zap.Int("sockets", sockets),
				zap.Int("bytes", len(data)))
		}
	}
	if err != nil {
		logger.Error("saving recovery: clients will start anew", zap.String("hub", h.Name()), zap.Error(err))
	}
}

// restore reads what an earlier process, or an earlier configuration, has saved, and
// removes it from the store, so that it is restored only once: clients that get the same
// events twice are worse than clients that start anew. The store may be nil.
func (h *hub) restore(s *storage.Store, logger *zap.Logger) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storageTime)
	defer cancel()
	data, found, err := h.store(s).Take(ctx, snapshotName)
	var sockets int
	if found && err == nil {
		sockets, err = h.Restore(data)
	}
	switch {
	case err != nil:
		logger.Error("restoring recovery: clients start anew", zap.String("hub", h.Name()), zap.Error(err))
	case found:
		logger.Info("recovery restored", zap.String("hub", h.Name()), zap.Int("sockets", sockets))
	}
}
