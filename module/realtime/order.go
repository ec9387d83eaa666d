package realtime

import (
	"hash/maphash"
	"sync"
)

// An order makes broadcasts to one room reach all of its members in the same order, while those to
// other rooms run concurrently. The zero value is ready.
type order struct{ stripes [32]sync.Mutex }

var orderSeed = maphash.MakeSeed()

// lockAll waits until no broadcast is running at all.
func (o *order) lockAll() (unlock func()) {
	for i := range o.stripes {
		o.stripes[i].Lock()
	}
	return func() {
		for i := range o.stripes {
			o.stripes[i].Unlock()
		}
	}
}

// lock waits until no broadcast to any of the target's rooms and users is running. A broadcast to
// the whole namespace counts as one to the room "".
func (o *order) lock(to *target) (unlock func()) {
	var set uint32 // the stripes to lock, from the lowest up, so that there is no deadlock
	for _, names := range [][]string{to.rooms, to.users} {
		for _, name := range names {
			set |= 1 << (maphash.String(orderSeed, name) % uint64(len(o.stripes)))
		}
	}
	if to.everyone() {
		set = 1
	}
	for i := range o.stripes {
		if set&(1<<i) != 0 {
			o.stripes[i].Lock()
		}
	}
	return func() {
		for i := range o.stripes {
			if set&(1<<i) != 0 {
				o.stripes[i].Unlock()
			}
		}
	}
}
