package caddy

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/storage"
)

// snapshotName is that of what a hub owes, in the store of its name.
const snapshotName = "recovery"

// storageTime is how long the storage may take.
const storageTime = 10 * time.Second

func (h *hub) store(s *storage.Store) *storage.Store { return s.Under(h.Name()) }

// storeFor returns the store of what has to do with some backends, by their identities.
func storeFor(s *storage.Store, backends ...string) *storage.Store {
	if len(backends) == 0 {
		return s.Under("no backend")
	}
	return s.Under("backend " + strings.Join(backends, " "))
}

// save writes down what the hub owes to clients that may come back, since no
// configuration has it any more. It takes no events from here on. A hub that has
// been replaced owes nothing: its clients come back to the other one. The store
// may be nil.
func (h *hub) save(s *storage.Store, logger *zap.Logger) {
	data, sockets, err := h.Seal()
	ctx, cancel := context.WithTimeout(context.Background(), storageTime)
	defer cancel()
	switch {
	case err != nil || s == nil:
	case h.isReplaced() && !h.outdated:
	case data == nil || h.isReplaced():
		// What is there may be of a process that ended while this one ran.
		err = h.store(s).Remove(ctx, snapshotName)
	default:
		if err = h.store(s).Write(ctx, snapshotName, data); err == nil {
			logger.Info("recovery saved", zap.String("hub", h.Name()), zap.Int("sockets", sockets), zap.Int("bytes", len(data)))
		}
	}
	if err != nil {
		logger.Error("saving recovery: clients will start anew", zap.String("hub", h.Name()), zap.Error(err))
	}
}

// restore takes over what an earlier process, or configuration, has saved.
// Nobody else shall: to give the same events twice is worse than not at all. The
// store may be nil.
func (h *hub) restore(s *storage.Store, logger *zap.Logger) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storageTime)
	defer cancel()
	data, found, err := h.store(s).Take(ctx, snapshotName)
	h.outdated = err != nil // what happens from here on is not in it
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
