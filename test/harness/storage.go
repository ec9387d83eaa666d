package harness

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// WaitStored waits until the server's storage has a number of sockets. If the server is
// killed, the backend learns that these are gone. The server writes them after a
// second, or later on a busy machine.
func (s *Server) WaitStored(t *testing.T, sockets int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	if !chaos.Await(ctx, func() bool { return s.stored(t) == sockets }) {
		t.Fatalf("the storage has %d sockets, not %d", s.stored(t), sockets)
	}
}

// stored returns the number of sockets in the storage.
func (s *Server) stored(t *testing.T) int {
	t.Helper()
	// The files in the order in which they were written. Those that are being written have
	// another name: nothing is left of them if the server is killed now.
	names, err := filepath.Glob(s.path("data/caddy/realtime/*/*/*/departures/*/*-*"))
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool) // by the message's id: what the last record of it says
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // removed meanwhile
		}
		_, records, _ := strings.Cut(string(text), "\n")
		for line := range strings.Lines(records) {
			var record struct {
				ID   string
				Due  int64
				Data json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatalf("%s has a line %q", name, line)
			}
			there[record.ID] = record.Data != nil && record.Due == 0
		}
	}
	stored := 0
	for _, is := range there {
		if is {
			stored++
		}
	}
	return stored
}
