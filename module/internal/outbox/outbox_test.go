package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestNeverBlocks sends to a peer that does not read, over a real connection.
func TestNeverBlocks(t *testing.T) {
	for kind, connect := range kinds {
		t.Run(kind, func(t *testing.T) {
			near, far := connect(t)
			o := New(near, fixed(100_000), nil)
			if (o.try != nil) != (kind == "plain") || (o.below != nil) != (kind == "TLS" && runtime.GOOS == "linux") {
				t.Fatalf("can be tried: %v; looked at: %v", o.try != nil, o.below != nil)
			}
			sent := make(chan []received)
			go func() {
				var accepted []received
				var batch Batch
				for i := 0; ; i++ {
					if i%2 == 0 {
						batch.Open()
					}
					err := o.SendIn(&batch, chunk(0, i, 1000))
					if i%3 == 0 {
						batch.Close()
					}
					switch {
					case errors.Is(err, ErrFull):
						batch.Close()
						sent <- accepted
						return
					case err != nil:
						t.Error(err)
					}
					accepted = append(accepted, received{0, i})
				}
			}()
			var accepted []received
			select {
			case accepted = <-sent:
			case <-time.After(patience):
				t.Fatal("a send blocks")
			}
			if o.Idle() {
				t.Error("idle, with a peer that reads nothing")
			}
			o.Finish(chunk(1, 0, 1000), false)
			accepted = append(accepted, received{1, 0})
			result := make(chan []received, 1)
			go func() { result <- chunks(t, far) }()
			o.draining.Wait() // everything is with the kernel
			if !o.Idle() {
				t.Error("not idle, with nothing queued")
			}
			finish(t, o)
			if got := <-result; !slices.Equal(got, accepted) {
				t.Errorf("%d chunks arrived, %d were accepted", len(got), len(accepted))
			}
		})
	}
}

// TestConcurrentSenders: chunks stay whole, those of each sender arrive in order, and those
// of one send stay together.
func TestConcurrentSenders(t *testing.T) {
	const senders, sends = 8, 200
	for _, connect := range kinds {
		near, far := connect(t)
		o := New(near, fixed(1<<30), nil)
		result := make(chan []received, 1)
		go func() { result <- chunks(t, far) }()
		var running sync.WaitGroup
		for s := range senders {
			random := rand.New(rand.NewPCG(1, uint64(s)))
			running.Go(func() {
				var batch Batch
				defer batch.Close()
				for n := range sends {
					size := random.IntN(100)
					if n%50 == 0 {
						size = 50_000
					}
					three := [][]byte{chunk(s, 3*n, size), chunk(s, 3*n+1, 10), chunk(s, 3*n+2, size)}
					var err error
					switch n % 4 {
					case 0:
						err = errors.Join(o.Send(three[0]), o.Send(three[1]), o.Send(three[2]))
					case 1:
						err = o.Send(three...)
					case 2:
						batch.Open()
						err = o.SendIn(&batch, three...)
					case 3:
						batch.Close()
						err = o.SendIn(&batch, three...)
						_ = o.flushBatch(false)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		o.draining.Wait()
		finish(t, o)
		got := <-result
		if len(got) != 3*senders*sends {
			t.Errorf("%d chunks arrived, want %d", len(got), 3*senders*sends)
		}
		next := make([]int, senders)
		for i, c := range got {
			if c.number != next[c.sender] {
				t.Fatalf("sender %d: chunk %d came, %d was due", c.sender, c.number, next[c.sender])
			}
			next[c.sender]++
			if together := c.number/3%4 != 0; together && c.number%3 > 0 && got[i-1].sender != c.sender {
				t.Fatalf("sender %d: chunk %d of a send was torn from the one before", c.sender, c.number)
			}
		}
	}
}

// TestPartialWrites: the kernel takes any number of bytes of two chunks, and the goroutine
// writes the rest.
func TestPartialWrites(t *testing.T) {
	for taken := range 9 {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{gate: make(chan struct{})}
			left := taken
			o, _ := withKernel(w, 100, func(p []byte) (int, error) {
				n := min(left, len(p))
				left -= n
				return n, nil
			})
			for _, c := range []string{"abcd", "efgh", "ijkl"} {
				if err := o.Send([]byte(c)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if got := string(w.written()); got != "abcdefghijkl"[:taken] || o.Idle() {
				t.Errorf("taken at once: %q; idle: %v", got, o.Idle())
			}
			close(w.gate)
			synctest.Wait()
			if got := string(w.written()); got != "abcdefghijkl" || !o.Idle() {
				t.Errorf("taken in the end: %q; idle: %v", got, o.Idle())
			}
			if o.busy || o.queue != nil || o.size != 0 {
				t.Errorf("idle, it holds %d bytes in %v; busy: %v", o.size, o.queue, o.busy)
			}
			finish(t, o)
		})
	}
}

// TestTriesFirst: what the kernel takes needs no goroutine, and nothing overtakes what it
// did not take.
func TestTriesFirst(t *testing.T) {
	w := &wire{gate: make(chan struct{})}
	synctest.Test(t, func(t *testing.T) {
		w.gate = make(chan struct{})
		full := false
		o, k := withKernel(w, 100, func(p []byte) (int, error) {
			if full {
				return 0, nil
			}
			return len(p), nil
		})
		for range 3 {
			if err := o.Send([]byte("free ")); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Send(); err != nil { // nothing, in effect
			t.Fatal(err)
		}
		if err := o.Send([]byte{}); err != nil {
			t.Fatal(err)
		}
		if k.tries < 3 || w.writes() != 0 || !o.Idle() {
			t.Errorf("%d tries, %d writes; idle: %v", k.tries, w.writes(), o.Idle())
		}
		full = true
		_ = o.Send([]byte("first "))
		full = false
		tries := k.tries
		_ = o.Send([]byte("second"))
		synctest.Wait()
		if k.tries != tries || string(w.written()) != "free free free " {
			t.Errorf("a later send was tried before an earlier one was through: %q", w.written())
		}
		close(w.gate)
		synctest.Wait()
		if got := string(w.written()); got != "free free free first second" {
			t.Errorf("wrote %q", got)
		}
		finish(t, o)
	})
}

// TestFinish ends an outbox in all states of its first chunk.
func TestFinish(t *testing.T) {
	for taken := range 5 {
		for _, discard := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{gate: make(chan struct{})}
				left := taken
				o, _ := withKernel(w, 10, func(p []byte) (int, error) {
					n := min(left, len(p))
					left -= n
					return n, nil
				})
				for _, c := range []string{"abcd", "ef", "gh"} {
					if err := o.Send([]byte(c)); err != nil {
						t.Fatal(err)
					}
				}
				// The limit does not apply to the last chunk, and there is only one.
				o.Finish([]byte("the last of all"), discard)
				o.Finish([]byte("once more"), true)
				for _, err := range []error{o.Send([]byte("late")), o.Send([]byte("la"), []byte("te")), o.SendIn(new(Batch), []byte("late"))} {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("sending after Finish: %v", err)
					}
				}
				close(w.gate)
				synctest.Wait()
				want := []string{"abcdefghthe last of all"}
				if discard {
					// The goroutine may have begun to write, or not.
					want = []string{"abcdefghthe last of all", "abcdefthe last of all", "abcdthe last of all"}
					if taken == 0 {
						want = append(want, "the last of all")
					}
				}
				if got := string(w.written()); !slices.Contains(want, got) {
					t.Errorf("%d taken, discard %v: wrote %q", taken, discard, got)
				}
				if !o.Idle() {
					t.Error("not idle")
				}
				finish(t, o)
			})
		}
	}
}

// TestFinishDiscards: what waits behind what is being written is dropped.
func TestFinishDiscards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{gate: make(chan struct{})}
		o, _ := withKernel(w, 1<<20, func([]byte) (int, error) { return 0, nil })
		begun := bytes.Repeat([]byte("b"), pieceSize)
		_ = o.Send(begun)
		synctest.Wait() // it is being written
		for range 50 {
			if err := o.Send(bytes.Repeat([]byte("w"), 5000)); err != nil {
				t.Fatal(err)
			}
		}
		o.Finish([]byte("last"), true)
		close(w.gate)
		synctest.Wait()
		if got := w.written(); !bytes.Equal(got, append(begun, "last"...)) {
			t.Errorf("wrote %d bytes, %d of them what waited", len(got), bytes.Count(got, []byte("w")))
		}
		finish(t, o)
	})
}

// TestFinishWithNothing ends an outbox without a last chunk.
func TestFinishWithNothing(t *testing.T) {
	w := new(wire)
	o, _ := withKernel(w, 10, nil)
	_ = o.Send([]byte("a"))
	o.Finish(nil, false)
	if err := o.Send([]byte("b")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if got := string(w.written()); got != "a" || w.isClosed() {
		t.Errorf("wrote %q; closed: %v", got, w.isClosed())
	}
	finish(t, o)
}

func TestWriteErrors(t *testing.T) {
	broken := errors.New("connection reset")
	for name, start := range map[string]func(*wire) *Outbox{
		"a try": func(w *wire) *Outbox {
			o, _ := withKernel(w, 100, func(p []byte) (int, error) { return len(p) / 2, broken })
			return o
		},
		"a write": func(w *wire) *Outbox {
			w.fate = func(p []byte) (int, error) { return len(p) / 2, broken }
			return New(w, fixed(100), nil)
		},
		"a write after a try": func(w *wire) *Outbox {
			w.fate = func(p []byte) (int, error) { return 0, broken }
			o, _ := withKernel(w, 100, func(p []byte) (int, error) { return 1, nil })
			return o
		},
	} {
		for _, way := range []string{"send", "send several", "batch", "finish"} {
			synctest.Test(t, func(t *testing.T) {
				w := new(wire)
				o := start(w)
				var batch Batch
				switch way {
				case "send":
					_ = o.Send([]byte("abcd"))
				case "send several":
					_ = o.Send([]byte("ab"), []byte("cd"))
				case "batch":
					batch.Open()
					if err := o.SendIn(&batch, []byte("abcd")); err != nil {
						t.Error(err)
					}
					batch.Close()
				case "finish":
					o.Finish([]byte("abcd"), false)
				}
				synctest.Wait()
				if !w.isClosed() {
					t.Errorf("%s fails %s: the connection is not closed", name, way)
				}
				wrote := len(w.written())
				for _, err := range []error{o.Send([]byte("e")), o.Send([]byte("e"), []byte("f")), o.SendIn(&batch, []byte("e")), o.flushBatch(false)} {
					if !errors.Is(err, broken) {
						t.Errorf("%s fails %s: then %v", name, way, err)
					}
				}
				o.Finish([]byte("g"), true)
				synctest.Wait()
				if got := w.written(); len(got) != wrote {
					t.Errorf("%s fails %s: wrote %q nevertheless", name, way, got)
				}
				if !o.Idle() || o.queue != nil {
					t.Errorf("%s fails %s: it holds on to %d bytes", name, way, o.size)
				}
				finish(t, o)
			})
		}
	}
}

// TestWait closes a connection that a write waits for.
func TestWait(t *testing.T) {
	near, _ := tcp(t)
	o := New(near, fixed(100<<20), nil)
	if err := o.Send(make([]byte, 50<<20)); err != nil {
		t.Fatal(err)
	}
	finish(t, o)
	if err := o.Send([]byte("x")); err == nil {
		t.Error("sent after Wait")
	}
	if err := o.flushBatch(false); err == nil {
		t.Error("flushed after Wait")
	}

	unused := New(new(wire), fixed(10), nil)
	finish(t, unused)
	if err := unused.Send([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	finish(t, unused) // again
}

// TestPeerGone sends to a connection that the peer has reset.
func TestPeerGone(t *testing.T) {
	near, far := tcp(t)
	o := New(near, fixed(1<<30), nil)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := io.Copy(io.Discard, near); err == nil { // until the reset is there
		t.Log("the peer ended in peace")
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = o.Send([]byte("hello?"))
	}
	if err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
		t.Error("sending to a peer that is gone:", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Error("the connection was not closed:", err)
	}
	finish(t, o)
}

// FuzzOutbox runs a program against an outbox whose kernel takes any part of a write. What
// was accepted must get onto the wire, whole and in order, up to where it was discarded.
func FuzzOutbox(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07"), uint64(1))
	f.Add([]byte("ssssffbbbbcsssx"), uint64(2))
	for i := range 20 {
		random := rand.New(rand.NewPCG(3, uint64(i)))
		program := make([]byte, 60)
		for i := range program {
			program[i] = byte(random.UintN(256))
		}
		f.Add(program, uint64(i))
	}
	f.Fuzz(func(t *testing.T, program []byte, seed uint64) {
		if len(program) > 300 {
			return
		}
		synctest.Test(t, func(t *testing.T) { runProgram(t, program, rand.New(rand.NewPCG(seed, 0))) })
	})
}

func runProgram(t *testing.T, program []byte, random *rand.Rand) {
	const limit = 40_000
	w := &wire{gate: make(chan struct{})}
	o, _ := withKernel(w, limit, func(p []byte) (int, error) {
		switch random.IntN(3) {
		case 0:
			return 0, nil
		case 1:
			return random.IntN(len(p) + 1), nil
		}
		return len(p), nil
	})
	if random.IntN(4) == 0 {
		o.try = nil
	}
	var batches [2]Batch
	var accepted []string
	discarded := -1 // how many were accepted before what came last
	number := 0
	for _, op := range program {
		size := int(op>>4) * int(op>>4) * 80 // up to 18,000
		var chunks [][]byte
		for range 1 + int(op>>3&1) {
			chunks = append(chunks, fmt.Appendf(nil, "<%d:%0*d>", number, size, 0))
			number++
		}
		var err error
		switch batch := &batches[op>>2&1]; op % 8 {
		case 0, 1:
			err = o.Send(chunks...)
		case 2, 3:
			err = o.SendIn(batch, chunks...)
		case 4:
			batch.Open()
			continue
		case 5:
			batch.Close()
			continue
		case 6:
			select {
			case w.gate <- struct{}{}: // lets one write through
			default:
			}
			synctest.Wait()
			continue
		case 7:
			if op != 0xff {
				_ = o.flushBatch(false)
				continue
			}
			o.Finish([]byte("<last>"), true)
			if discarded < 0 {
				discarded = len(accepted)
			}
			continue
		}
		switch {
		case discarded >= 0:
			if !errors.Is(err, ErrClosed) {
				t.Fatalf("sending after Finish: %v", err)
			}
		case err == nil:
			for _, c := range chunks {
				accepted = append(accepted, string(c))
			}
		case !errors.Is(err, ErrFull) || o.size == 0:
			t.Fatal(err)
		}
	}
	if discarded < 0 {
		o.Finish([]byte("<last>"), false)
	}
	close(w.gate)
	for i := range batches {
		batches[i].Close()
	}
	synctest.Wait()
	rest := string(w.written())
	for i, c := range accepted {
		if len(rest) < len(c) || rest[:len(c)] != c {
			if discarded < 0 {
				t.Fatalf("chunk %d of %d is not there", i, len(accepted))
			}
			break
		}
		rest = rest[len(c):]
	}
	if rest != "<last>" {
		t.Fatalf("the wire ends with %.100q", rest)
	}
	if !o.Idle() || o.busy || o.size != 0 {
		t.Fatalf("%d bytes are queued; busy: %v", o.size, o.busy)
	}
	finish(t, o)
}

func BenchmarkSend(b *testing.B) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"through": func(c net.Conn) net.Conn { return c },
		"queued":  func(c net.Conn) net.Conn { return struct{ net.Conn }{c} },
	} {
		b.Run(name, func(b *testing.B) {
			near, far := tcp(b)
			_ = near.SetWriteBuffer(1 << 20)
			_ = far.SetReadBuffer(1 << 20)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			o := New(wrap(near), fixed(1<<30), nil)
			frame := make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				if err := o.Send(frame); err != nil {
					b.Fatal(err)
				}
			}
			o.draining.Wait()
			finish(b, o)
		})
	}
}

// BenchmarkBatch sends k answers to one connection together.
func BenchmarkBatch(b *testing.B) {
	for _, k := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(k), func(b *testing.B) {
			near, far := tcp(b)
			_ = near.SetWriteBuffer(1 << 20)
			_ = far.SetReadBuffer(1 << 20)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			o := New(near, fixed(1<<30), nil)
			frame := make([]byte, 100)
			var batch Batch
			b.ReportAllocs()
			for b.Loop() {
				batch.Open()
				for range k {
					if err := o.SendIn(&batch, frame); err != nil {
						b.Fatal(err)
					}
				}
				batch.Close()
			}
			o.draining.Wait()
			finish(b, o)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(k), "ns/frame")
		})
	}
}
