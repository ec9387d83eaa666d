package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batch Batch
		wires, outboxes := make([]*wire, 3), make([]*Outbox, 3)
		for i := range outboxes {
			wires[i] = new(wire)
			outboxes[i] = New(wires[i], fixed(1000), nil)
		}
		send := func(i int, s string) {
			t.Helper()
			if err := outboxes[i].SendIn(&batch, []byte(s)); err != nil {
				t.Error(err)
			}
		}
		check := func(i, writes int, want string) {
			t.Helper()
			synctest.Wait()
			if got := string(wires[i].written()); got != want || wires[i].writes() != writes {
				t.Errorf("%d: wrote %q in %d writes, want %q in %d", i, got, wires[i].writes(), want, writes)
			}
		}
		send(0, "closed ") // at first, and lets everything through
		check(0, 1, "closed ")

		batch.Open()
		batch.Open()
		for range 3 {
			send(0, "a ")
			send(1, "b ")
		}
		check(0, 1, "closed ")
		check(1, 0, "")
		if !outboxes[0].Idle() {
			t.Error("not idle because of what a batch holds back")
		}
		batch.Close()
		check(0, 2, "closed a a a ")
		check(1, 1, "b b b ")
		check(2, 0, "")
		batch.Close()
		send(2, "c ") // after the end
		check(2, 1, "c ")

		// A send outside of batches writes what is held back, too, and so does the end
		// of the connection.
		batch.Open()
		send(0, "held ")
		if err := outboxes[0].Send([]byte("now ")); err != nil {
			t.Error(err)
		}
		check(0, 3, "closed a a a held now ")
		send(0, "held again ")
		check(0, 3, "closed a a a held now ")
		if err := outboxes[0].SendIn(nil, []byte("nil ")); err != nil {
			t.Error(err)
		}
		check(0, 4, "closed a a a held now held again nil ")
		send(0, "flushed ")
		if err := outboxes[0].flushBatch(false); err != nil {
			t.Error(err)
		}
		check(0, 5, "closed a a a held now held again nil flushed ")
		send(1, "held ")
		outboxes[1].Finish([]byte("last"), false)
		check(1, 2, "b b b held last")
		send(2, "dropped ")
		outboxes[2].Finish([]byte("last"), true)
		check(2, 2, "c last")
		batch.Close()
		check(0, 5, "closed a a a held now held again nil flushed ")
		check(1, 2, "b b b held last")

		// With two batches at a time, the end of the first may write.
		var other Batch
		batch.Open()
		other.Open()
		send(0, "x ")
		if err := outboxes[0].SendIn(&other, []byte("y ")); err != nil {
			t.Error(err)
		}
		send(0, "z ")
		check(0, 5, "closed a a a held now held again nil flushed ")
		batch.Close()
		check(0, 6, "closed a a a held now held again nil flushed x y z ")
		other.Close()
		check(0, 6, "closed a a a held now held again nil flushed x y z ")
		for _, o := range outboxes {
			finish(t, o)
		}
	})
}

// TestGather: small chunks in the queue are written together, up to pieceSize, and a large
// chunk by itself and without a copy.
func TestGather(t *testing.T) {
	of := func(sizes ...int) (queue [][]byte) {
		for i, size := range sizes {
			queue = append(queue, bytes.Repeat([]byte{byte(i)}, size))
		}
		return queue
	}
	tests := []struct{ sizes, writes []int }{
		{[]int{1}, []int{1}},
		{[]int{1, 2, 3}, []int{6}},
		{[]int{pieceSize}, []int{pieceSize}},
		{[]int{pieceSize - 1, 1}, []int{pieceSize}},
		{[]int{pieceSize, 1}, []int{pieceSize, 1}},
		{[]int{pieceSize - 1, 2, 3}, []int{pieceSize - 1, 5}},
		{[]int{1, pieceSize, 1}, []int{1, pieceSize, 1}},
		{[]int{2*pieceSize + 1, 1, 1}, []int{pieceSize, pieceSize, 3}}, // to see that the peer takes it
		{[]int{0, 0, 1}, []int{1}},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			w := new(wire)
			o := New(w, fixed(1<<20), nil)
			queue := of(test.sizes...)
			if err := o.Send(queue...); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var sizes []int
			for _, p := range w.begun {
				sizes = append(sizes, len(p))
			}
			if !slices.Equal(sizes, test.writes) || !bytes.Equal(w.written(), bytes.Join(queue, nil)) {
				t.Errorf("chunks of %d: writes of %d, want %d", test.sizes, sizes, test.writes)
			}
			finish(t, o)
		})
	}
	alone := of(100)
	batch, _, in := gather([]piece{{data: alone[0]}}, 200)
	free(in)
	if &batch[0] != &alone[0][0] {
		t.Error("a lone chunk was copied")
	}
}

// TestBatches has readers open and close batches while others send in them.
func TestBatches(t *testing.T) {
	const senders, sends = 6, 500
	w := new(wire)
	o := New(w, fixed(1<<30), nil)
	var batches [3]Batch
	done := make(chan struct{})
	var readers, running sync.WaitGroup
	for i := range batches {
		readers.Go(func() {
			for {
				select {
				case <-done:
					batches[i].Close()
					return
				default:
					batches[i].Open()
					batches[i].Close()
				}
			}
		})
	}
	for s := range senders {
		running.Go(func() {
			for n := range sends {
				if err := o.SendIn(&batches[(s+n)%len(batches)], chunk(s, n, 3)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	close(done)
	readers.Wait()
	o.draining.Wait()
	if !o.Idle() {
		t.Error("something is held back by batches that have ended")
	}
	next := make([]int, senders)
	for _, c := range chunks(t, bytes.NewReader(w.written())) {
		if c.number != next[c.sender] {
			t.Fatalf("sender %d: chunk %d came, %d was due", c.sender, c.number, next[c.sender])
		}
		next[c.sender]++
	}
	for s, n := range next {
		if n != sends {
			t.Errorf("%d chunks of sender %d arrived, want %d", n, s, sends)
		}
	}
	finish(t, o)
}

// TestBatchIsNotSlow sends more in a batch than may wait, to a peer that takes all of it.
func TestBatchIsNotSlow(t *testing.T) {
	for _, way := range []string{"many", "one large", "one large in no batch"} {
		synctest.Test(t, func(t *testing.T) {
			w := new(wire)
			o, _ := withKernel(w, 1000, nil)
			var batch Batch
			batch.Open()
			var err error
			size := 0
			send := func(b *Batch, n int) {
				err = errors.Join(err, o.SendIn(b, make([]byte, n)))
				size += n
			}
			switch way {
			case "many":
				for range 20 {
					send(&batch, 100)
				}
			case "one large":
				send(&batch, 10)
				send(&batch, 1000)
			case "one large in no batch":
				send(&batch, 10)
				send(nil, 1000)
			}
			batch.Close()
			if err != nil || len(w.written()) != size {
				t.Errorf("%s: %d of %d bytes were written: %v", way, len(w.written()), size, err)
			}
			finish(t, o)
		})
	}
}

func ExampleBatch() {
	var batch Batch
	w := new(wire)
	o := New(w, fixed(1000), nil)
	batch.Open()
	for i := range 3 {
		_ = o.SendIn(&batch, fmt.Appendf(nil, "answer %d\n", i))
	}
	batch.Close()
	o.Finish(nil, false)
	o.draining.Wait()
	fmt.Printf("%s%d write\n", w.written(), w.writes())
	// Output:
	// answer 0
	// answer 1
	// answer 2
	// 1 write
}
