package storage

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/caddyserver/certmagic"
)

// storeIn returns a store in a folder.
func storeIn(dir string) *Store {
	return On(&certmagic.FileStorage{Path: dir})
}

func TestStore(t *testing.T) {
	ctx := t.Context()
	s := storeIn(t.TempDir()).Under("hub")
	if names, err := s.List(ctx); len(names) > 0 || err != nil {
		t.Errorf("in the beginning there are %q, %v", names, err)
	}
	if _, found, err := s.Read(ctx, "a"); found || err != nil {
		t.Errorf("in the beginning there is a, or %v", err)
	}
	if err := s.Remove(ctx, "a"); err != nil {
		t.Error(err)
	}
	for _, value := range []string{"1", "2"} {
		if err := s.Write(ctx, "a", []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, found, err := s.Read(ctx, "a"); string(got) != value || !found || err != nil {
			t.Errorf("a is %q, %v, %v", got, found, err)
		}
	}
	if got, found, err := s.Take(ctx, "a"); string(got) != "2" || !found || err != nil {
		t.Errorf("taken is %q, %v, %v", got, found, err)
	}
	if _, found, err := s.Take(ctx, "a"); found || err != nil {
		t.Errorf("it can be taken twice: %v, %v", found, err)
	}
}

// names are what nobody would call a hub.
var names = []string{"a", "A", "", ".", "..", "../..", "a/b", "/a", "a/", `a\b`, "a.b", "a=2Eb", "=", "==", "a%2Fb", "ü", "\x00", "con", "a:b", "*", strings.Repeat("x", 200)}

// TestStoreNames: no name is mistaken for another one, or leads elsewhere.
func TestStoreNames(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := storeIn(dir)
	for _, name := range names {
		if err := s.Under("values").Write(ctx, name, []byte(name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if err := s.Under("stores").Under(name).Write(ctx, "v", []byte(name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range names {
		value, found, err := s.Under("values").Read(ctx, name)
		if string(value) != name || !found || err != nil {
			t.Errorf("the value of %q is %q, %v, %v", name, value, found, err)
		}
		value, found, err = s.Under("stores").Under(name).Read(ctx, "v")
		if string(value) != name || !found || err != nil {
			t.Errorf("that under %q is %q, %v, %v", name, value, found, err)
		}
	}
	for _, of := range []string{"values", "stores"} {
		got, err := s.Under(of).List(ctx)
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(names)); !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: %q, %v", of, got, err)
		}
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 1 {
		t.Errorf("beside its place there are %v, %v", all, err)
	}
	long := strings.Repeat("y", 10_000)
	if err := s.Write(ctx, long, []byte("long")); err != nil {
		t.Error(err)
	}
	if value, found, err := s.Read(ctx, long); string(value) != "long" || !found || err != nil {
		t.Errorf("the value of a long name is %q, %v, %v", value, found, err)
	}
}

func FuzzUnescape(f *testing.F) {
	for _, name := range names {
		f.Add(name)
		f.Add(escape(name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		element := escape(text)
		if element == "" || strings.ContainsAny(element, "./\\%") || len(element) > maxEscaped {
			t.Errorf("%q becomes %q", text, element)
		}
		if name, ok := unescape(element); ok && name != text || !ok && len(element) < 66 {
			t.Errorf("%q becomes %q, and that %q, %v", text, element, name, ok)
		}
		if name, ok := unescape(text); ok && escape(name) != text {
			t.Errorf("%q is taken for %q", text, name)
		}
	})
}

// A failing storage cannot do anything.
type failing struct{ certmagic.Storage }

var errDisk = errors.New("disk is on fire")

func (failing) Store(context.Context, string, []byte) error          { return errDisk }
func (failing) Load(context.Context, string) ([]byte, error)         { return nil, errDisk }
func (failing) Delete(context.Context, string) error                 { return errDisk }
func (failing) List(context.Context, string, bool) ([]string, error) { return nil, errDisk }

func TestStoreFails(t *testing.T) {
	ctx := t.Context()
	s := On(failing{})
	_, found, read := s.Read(ctx, "a")
	_, taken, take := s.Take(ctx, "a")
	_, list := s.List(ctx)
	for what, err := range map[string]error{"write": s.Write(ctx, "a", nil), "read": read, "take": take, "list": list, "remove": s.Remove(ctx, "a")} {
		if !errors.Is(err, errDisk) || found || taken {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNew: what is written is in the configuration's storage, under this
// Caddy's id.
func TestNew(t *testing.T) {
	var c caddy.Config
	dir := t.TempDir()
	c.StorageRaw = json.RawMessage(`{"module":"file_system","root":"` + dir + `"}`)
	ctx, err := caddy.ProvisionContext(&c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Under("default").Write(t.Context(), "v", nil); err != nil {
		t.Fatal(err)
	}
	id, err := caddy.InstanceID()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "realtime", id.String(), "default", "v")); err != nil {
		t.Error(err)
	}
}
