// Package storage keeps values beyond the life of the process, in the storage of a Caddy
// configuration.
//
// It exists since names (of hubs, endpoints, sockets, backends) may be any text, while a key of
// Caddy's storage may be a path in a file system or a pattern in a database; and since several
// Caddys may share one storage.
//
// It relies on these internals of Caddy; TestNew fails where a new version does otherwise:
//
//   - [caddy.InstanceID] is the same in the next process, and another one on other machines.
//   - A configuration's [certmagic.Storage] works until the configuration is cleaned up.
package storage

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

// root is the folder of all stores.
const root = "realtime"

// A Store keeps values by their names, and has other stores under it. It is a [webhook.Storage].
// It must not be used once the configuration whose storage it is in has been cleaned up. All
// methods may be called concurrently, and block for as long as the storage takes.
type Store struct {
	storage certmagic.Storage
	prefix  string
}

// New returns the store that all others of a configuration are under. Its keys begin with
// realtime/ and this Caddy's id, so that nodes which share a storage do not read each other's.
func New(ctx caddy.Context) (*Store, error) {
	id, err := caddy.InstanceID()
	if err != nil {
		return nil, fmt.Errorf("learning which Caddy this is: %w", err)
	}
	return On(ctx.Storage()).Under(id.String()), nil
}

// On returns the store that those of all Caddys which share a storage are under.
func On(storage certmagic.Storage) *Store { return &Store{storage, root} }

// Under returns the store of a name, which may be any text. A store must not also have a value of
// that name.
func (s *Store) Under(name string) *Store {
	return &Store{s.storage, s.key(name)}
}

func (s *Store) key(name string) string { return path.Join(s.prefix, escape(name)) }

// Write sets the value of a name, which may be any text.
func (s *Store) Write(ctx context.Context, name string, value []byte) error {
	if err := s.storage.Store(ctx, s.key(name), value); err != nil {
		return fmt.Errorf("writing %s: %w", s.key(name), err)
	}
	return nil
}

// Read returns the value of a name, and whether there is one.
func (s *Store) Read(ctx context.Context, name string) (value []byte, found bool, err error) {
	value, err = s.storage.Load(ctx, s.key(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("reading %s: %w", s.key(name), err)
	}
	return value, true, nil
}

// Take reads the value of a name and removes it, so that nobody reads it again. If it could not
// be removed, the result is both the value and an error.
func (s *Store) Take(ctx context.Context, name string) (value []byte, found bool, err error) {
	value, found, err = s.Read(ctx, name)
	if found {
		err = s.Remove(ctx, name)
	}
	return value, found, err
}

// Remove removes the value of a name, if there is one.
func (s *Store) Remove(ctx context.Context, name string) error {
	// Some storages report an error if there is nothing to delete.
	if err := s.storage.Delete(ctx, s.key(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", s.key(name), err)
	}
	return nil
}

// List returns the names of the values and of the stores under this one, in no particular order.
// It leaves out names that are too long for a key (see escape).
func (s *Store) List(ctx context.Context) ([]string, error) {
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

const (
	escaping   = '=' // databases take % for a wildcard
	maxEscaped = 200 // file systems have a limit; a longer name becomes a digest
)

// escape returns a name as one element of a key. No two names have the same element, and none
// leads to another folder.
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

// plain reports whether a character stands for itself in every file system, shell and database. A
// dot does not: two of them lead to another folder.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// unescape returns the name that escape made an element of. It reports false if escape did not
// make it, or made it of a long name.
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
var _ webhook.Storage = (*Store)(nil)
