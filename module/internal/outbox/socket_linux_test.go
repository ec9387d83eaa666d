package outbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestDirectlyOverTLS: the end of a batch writes what was held back if the socket has room
// for it. Otherwise a goroutine does.
func TestDirectlyOverTLS(t *testing.T) {
	near, far := kinds["TLS"](t)
	o := New(near, fixed(1<<20), nil)
	batch := new(Batch)
	for _, size := range []int{10, pieceSize + 1} {
		for _, locked := range []bool{false, true} {
			batch.Open()
			text := bytes.Repeat([]byte("x"), size)
			if err := o.SendIn(batch, text); err != nil {
				t.Fatal(err)
			}
			if !o.Idle() || o.Queued() != size {
				t.Errorf("%d bytes: not held back: %d", size, o.Queued())
			}
			o.mu.Lock()
			began := o.slowness.progressed
			o.mu.Unlock()
			read := make(chan error)
			if locked {
				batch.CloseUnderLock()
			} else {
				batch.Close()
				if size == 10 && o.Queued() != 0 {
					t.Error("left to somebody else")
				}
			}
			go func() {
				_, err := io.ReadFull(far, text)
				read <- err
			}()
			if err := <-read; err != nil {
				t.Fatal(err)
			}
			o.draining.Wait()
			if !o.slowness.progressed.After(began) {
				t.Error("the peer has taken nothing")
			}
		}
	}
	finish(t, o)
}

// TestVolatileOverTLS: nothing waits for a peer that reads, however often something has
// just been sent to it.
func TestVolatileOverTLS(t *testing.T) {
	near, far := tcp(t)
	if err := near.SetWriteBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	server, client := secured(t, near, far)
	o := New(server, fixed(1<<30), nil)
	var batch Batch
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		got <- n
	}()
	const sends, size = 1000, 64
	busy := 0
	for i := range sends {
		if i%2 == 0 {
			batch.Open()
		}
		if err := o.SendIn(&batch, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			batch.Close()
		}
		if !o.Idle() {
			busy++
		}
	}
	batch.Close()
	if busy > 0 {
		t.Errorf("%d of %d volatile events would have been dropped", busy, sends)
	}
	o.Finish(nil, false)
	o.draining.Wait()
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n := <-got; n != sends*size {
		t.Errorf("%d bytes arrived", n)
	}
	finish(t, o)
}

// TestAcknowledges: a peer that reads is not slow, although the kernel takes nothing more
// for it yet.
func TestAcknowledges(t *testing.T) {
	for _, secure := range []bool{false, true} {
		near, far := tcp(t)
		if err := errors.Join(near.SetWriteBuffer(1<<20), far.SetReadBuffer(4<<10)); err != nil {
			t.Fatal(err)
		}
		var server, client net.Conn = near, far
		if secure {
			server, client = secured(t, near, far)
		}
		o := New(server, fixed(1000), nil)
		if _, err := server.Write(make([]byte, 200_000)); err != nil {
			t.Fatal(err)
		}
		o.acknowledges() // and what is on its way, until the peer's buffer is full
		if n, ok := unacked(server); n < 100_000 || !ok {
			t.Fatalf("%d bytes wait for an acknowledgement: %v", n, ok)
		}
		go func() { _, _ = io.Copy(io.Discard, client) }()
		for began := time.Now(); !o.acknowledges(); {
			if time.Since(began) > patience {
				t.Fatal("the peer reads, and that is not seen")
			}
		}
		finish(t, o)
	}
}
