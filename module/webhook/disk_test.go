package webhook

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A disk outlives processes.
type disk struct {
	mu        sync.Mutex
	values    map[string][]byte
	broken    error
	bytes     int // that have been written
	recording bool
	past      []moment // what it was before each of its changes, where they are recorded
}

// A moment is what a disk had at a time.
type moment struct {
	values map[string][]byte
	time   time.Time
}

func newDisk() *disk { return &disk{values: make(map[string][]byte)} }

// diskAt returns a disk as another one was.
func diskAt(m moment) *disk { return &disk{values: maps.Clone(m.values)} }

// A shelf is a disk as a configuration has it: another one for each.
type shelf struct{ *disk }

func (d *disk) shelf() *shelf { return &shelf{d} }

func (d *disk) change() error {
	if d.broken != nil {
		return d.broken
	}
	if d.recording {
		d.past = append(d.past, moment{maps.Clone(d.values), time.Now()})
	}
	return nil
}

// record begins to record what the disk has been, or ends it, and returns that.
func (d *disk) record(on bool) []moment {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = on
	return append(d.past, moment{maps.Clone(d.values), time.Now()})
}

func (d *disk) Write(_ context.Context, name string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	d.bytes += len(value)
	d.values[name] = slices.Clone(value)
	return nil
}

func (d *disk) Read(_ context.Context, name string) ([]byte, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	value, found := d.values[name]
	return value, found, d.broken
}

func (d *disk) Remove(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	delete(d.values, name)
	return nil
}

func (d *disk) List(context.Context) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.values)), d.broken
}

// set breaks the disk, or mends it.
func (d *disk) set(broken error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

func (d *disk) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.values))
}

// written returns how many bytes have been.
func (d *disk) written() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

func (d *disk) size() (size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, value := range d.values {
		size += len(value)
	}
	return size
}
