package caddy

import (
	"context"
	"errors"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/storage"
)

var errStubborn = errors.New("nothing is removed")

// A stubborn storage fails to remove something, once.
type stubborn struct {
	certmagic.Storage
	refused bool
}

func (s *stubborn) Delete(ctx context.Context, key string) error {
	if !s.refused {
		s.refused = true
		return errStubborn
	}
	return s.Storage.Delete(ctx, key)
}

// TestSnapshotOvertaken has another process leave a snapshot while this one runs. save removes it,
// since it lacks what happened in this process.
func TestSnapshotOvertaken(t *testing.T) {
	s := storage.On(&certmagic.FileStorage{Path: t.TempDir()})
	h, err := newHub("overtaken", hubBroker{}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Destruct() }()
	h.restore(s, zap.NewNop())
	if err := h.store(s).Write(t.Context(), snapshotName, []byte(`{"v":1,"namespaces":[]}`)); err != nil {
		t.Fatal(err)
	}
	h.save(s, zap.NewNop())
	if _, found, err := h.store(s).Read(t.Context(), snapshotName); found || err != nil {
		t.Errorf("it is still there, or %v", err)
	}
}

// TestSnapshotOutdated has a process that fails to take over a snapshot. The next process must not
// restore it, since it lacks what has happened in between.
func TestSnapshotOutdated(t *testing.T) {
	ctx := t.Context()
	s := storage.On(&stubborn{Storage: &certmagic.FileStorage{Path: t.TempDir()}})
	h, err := newHub("outdated", hubBroker{}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Destruct() }()
	if err := h.store(s).Write(ctx, snapshotName, []byte(`{"v":1,"namespaces":[]}`)); err != nil {
		t.Fatal(err)
	}
	h.restore(s, zap.NewNop())
	if _, found, err := h.store(s).Read(ctx, snapshotName); !found || err != nil {
		t.Fatalf("the storage is not stubborn: %v", err)
	}
	h.save(s, zap.NewNop())
	if _, found, err := h.store(s).Read(ctx, snapshotName); found || err != nil {
		t.Errorf("it is still there, or %v", err)
	}
}
