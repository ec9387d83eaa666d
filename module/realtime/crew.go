package realtime

import (
	"context"
	"sync/atomic"
)

// maxResting is how many goroutines of a crew wait for something to do.
const maxResting = 32

// A crew does what may take a while, each piece on a goroutine of its own. It
// keeps some of them for the next: a request to a backend needs a deep stack, and
// to grow one anew each time takes longer than all else that an event costs here.
type crew struct {
	life    context.Context // those that rest leave with it
	pieces  chan func()     // is received from by those that rest
	resting atomic.Int32
}

func newCrew(life context.Context) *crew { return &crew{life: life, pieces: make(chan func())} }

// do has a piece done, and does not wait for it.
func (c *crew) do(piece func()) {
	select {
	case c.pieces <- piece:
	default:
		go c.work(piece) // joined by the leases of what it does, and by life
	}
}

func (c *crew) work(piece func()) {
	for piece != nil {
		piece()
		piece = c.rest()
	}
}

// rest returns the next piece; nil if there will be none for whoever asks.
func (c *crew) rest() (piece func()) {
	defer c.resting.Add(-1)
	if c.resting.Add(1) > maxResting {
		return nil
	}
	select {
	case piece = <-c.pieces:
		return piece
	case <-c.life.Done():
		return nil
	}
}
