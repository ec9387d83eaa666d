package caddy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// A store keeps values beyond the life of the process, in the storage of a
// configuration: it must not be used when that has been cleaned up. Its keys are
// under realtime/<this Caddy's id>, so that nodes that share a storage do not
// read each other's. It is a webhook.Storage. All methods may be called
// concurrently, and block as long as the storage takes.
type store struct {
	storage certmagic.Storage
	prefix  string
}

// newStore returns the store that all others are under.
func newStore(ctx caddy.Context) (*store, error) {
	id, err := caddy.InstanceID()
	if err != nil {
		return nil, fmt.Errorf("learning which Caddy this is: %w", err)
	}
	root := &store{ctx.Storage(), "realtime"}
	return root.under(id.String()), nil
}

// under returns the store of a name, which may be any text. A store cannot have
// a value of the same name.
func (s *store) under(name string) *store {
	return &store{s.storage, s.key(name)}
}

// of returns the store of what has to do with some backends, by their identities.
func (s *store) of(backends ...string) *store {
	if len(backends) == 0 {
		return s.under("no backend")
	}
	return s.under("backend " + strings.Join(backends, " "))
}

func (s *store) key(name string) string { return path.Join(s.prefix, escape(name)) }

// Write makes value that of a name, which may be any text.
func (s *store) Write(ctx context.Context, name string, value []byte) error {
	if err := s.storage.Store(ctx, s.key(name), value); err != nil {
		return fmt.Errorf("writing %s: %w", s.key(name), err)
	}
	return nil
}

// Read returns the value of a name, and whether there is one.
func (s *store) Read(ctx context.Context, name string) (value []byte, found bool, err error) {
	value, err = s.storage.Load(ctx, s.key(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("reading %s: %w", s.key(name), err)
	}
	return value, true, nil
}

// take is Read for a value that nobody shall read again. The value is good even
// if the error says that it could not be removed.
func (s *store) take(ctx context.Context, name string) (value []byte, found bool, err error) {
	value, found, err = s.Read(ctx, name)
	if found {
		err = s.Remove(ctx, name)
	}
	return value, found, err
}

// Remove removes the value of a name, if there is one.
func (s *store) Remove(ctx context.Context, name string) error {
	// Not every storage thinks that removing nothing is fine.
	if err := s.storage.Delete(ctx, s.key(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", s.key(name), err)
	}
	return nil
}

// List returns the names of the values, and of the stores under this one, in no
// particular order.
func (s *store) List(ctx context.Context) ([]string, error) {
	keys, err := s.storage.List(ctx, s.prefix, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("listing %s: %w", s.prefix, err)
	}
	var names []string
	for _, key := range keys {
		rest, ok := strings.CutPrefix(key, s.prefix+"/")
		if name, good := unescape(rest); ok && good {
			names = append(names, name)
		}
	}
	return names, nil
}

// What names become in keys. A name that is long becomes a digest, which List
// leaves out: file systems have a limit.
const (
	escaping   = '=' // % is a wildcard to storages that ask a database
	maxEscaped = 200
)

// escape returns a name as one element of a key: no two names have the same, and
// none leaves its place.
func escape(name string) string {
	if name == "" {
		return string(escaping)
	}
	var b strings.Builder
	for i := range len(name) {
		if plain(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "%c%02X", escaping, name[i])
		}
	}
	if b.Len() > maxEscaped {
		sum := sha256.Sum256([]byte(name))
		return string(escaping) + string(escaping) + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// plain are what no file system, shell or database takes for anything else. A
// dot is not among them: two of them are the way out.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// unescape reports false for what escape has not made, or not of a name that can
// be told from it.
func unescape(element string) (name string, ok bool) {
	if element == string(escaping) {
		return "", true
	}
	b := make([]byte, 0, len(element))
	for i := 0; i < len(element); i++ {
		if element[i] != escaping {
			b = append(b, element[i])
			continue
		}
		if len(element) < i+3 {
			return "", false
		}
		c, err := hex.DecodeString(element[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b = append(b, c...)
		i += 2
	}
	return string(b), escape(string(b)) == element
}

// Interface guards
var _ webhook.Storage = (*store)(nil)
