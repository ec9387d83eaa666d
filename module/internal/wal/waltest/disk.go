// Package waltest has a storage for tests, which can fail, and tells what it held at
// each moment.
package waltest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Disk keeps values beyond the life of the processes of a test. All methods may be
// called concurrently.
type Disk struct {
	mu        sync.Mutex
	values    map[string][]byte
	err       error
	written   int
	recording bool
	moments   []Moment
}

// A Moment is what a disk held at a time.
type Moment struct {
	Values map[string][]byte
	Time   time.Time
}

// New returns an empty disk.
func New() *Disk { return At(Moment{}) }

// At returns a disk that holds what another one held.
func At(m Moment) *Disk {
	d := &Disk{values: make(map[string][]byte)}
	maps.Copy(d.values, m.Values)
	return d
}

// A Storage is a disk as one configuration has it: each has another one. It is a
// wal.Storage.
type Storage struct{ disk *Disk }

// Storage returns a new storage of the disk.
func (d *Disk) Storage() *Storage { return &Storage{d} }

// Fail has everything fail from now on; nil ends that.
func (d *Disk) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// Set sets a value, even if the disk fails.
func (d *Disk) Set(name string, value []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.values[name] = value
}

// Now returns what the disk holds.
func (d *Disk) Now() Moment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now()
}

func (d *Disk) now() Moment { return Moment{maps.Clone(d.values), time.Now()} }

// Record begins to record what the disk holds before each change.
func (d *Disk) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = true
}

// Recorded ends recording. It returns the moments before each change, and the last.
func (d *Disk) Recorded() []Moment {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = false
	return append(d.moments, d.now())
}

// Names returns the names of all values, in order.
func (d *Disk) Names() []string { return slices.Sorted(maps.Keys(d.Now().Values)) }

// Size returns how many bytes the values have.
func (d *Disk) Size() (size int) {
	for _, value := range d.Now().Values {
		size += len(value)
	}
	return size
}

// Written returns how many bytes have been written.
func (d *Disk) Written() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written
}

// change makes a change, unless the disk fails.
func (d *Disk) change(change func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if d.recording {
		d.moments = append(d.moments, d.now())
	}
	change()
	return nil
}

// Write implements wal.Storage.
func (s *Storage) Write(_ context.Context, name string, value []byte) error {
	d := s.disk
	return d.change(func() {
		d.written += len(value)
		d.values[name] = slices.Clone(value)
	})
}

// Read implements wal.Storage.
func (s *Storage) Read(_ context.Context, name string) (value []byte, found bool, err error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	value, found = s.disk.values[name]
	return value, found, s.disk.err
}

// Remove implements wal.Storage.
func (s *Storage) Remove(_ context.Context, name string) error {
	return s.disk.change(func() { delete(s.disk.values, name) })
}

// List implements wal.Storage.
func (s *Storage) List(context.Context) ([]string, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return slices.Collect(maps.Keys(s.disk.values)), s.disk.err
}
