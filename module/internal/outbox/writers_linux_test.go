package outbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCertainRoom: the kernel takes what fits a writable socket at once, however small the
// segments and the window are that the peer asks for.
func TestCertainRoom(t *testing.T) {
	for _, segment := range []int{0, 88, 536} {
		for _, buffer := range []int{0, 4 << 10, 64 << 10} {
			near, far := narrow(t, segment)
			if buffer > 0 {
				if err := near.SetWriteBuffer(buffer); err != nil {
					t.Fatal(err)
				}
			}
			server, client := secured(t, near, far)
			below := newSocket(server)
			sent := 0
			read := make([]byte, 40)
			for turn := range 2000 {
				room := below.buffer() / certainRoom
				if room == 0 && turn > 1000 {
					break
				}
				if room == 0 { // a little room at a time
					if _, err := client.Read(read); err != nil {
						t.Fatal(err)
					}
					continue
				}
				_ = server.SetWriteDeadline(time.Now().Add(patience / 10))
				n, err := server.Write(make([]byte, room))
				if sent += n; err != nil {
					t.Fatalf("segments of %d, a buffer of %d: after %d bytes, %d do not fit: %v", segment, buffer, sent, room, err)
				}
			}
			_ = near.Close()
		}
	}
}

// narrow is tcp to a peer with a small window and small segments.
func narrow(t *testing.T, segment int) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dialer net.Dialer
	dialer.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		failed := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
			if segment > 0 {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment))
			}
		})
		return errors.Join(failed, err)
	}
	c, err := dialer.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = a.(*net.TCPConn), c.(*net.TCPConn)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

// TestWriters: many connections over TLS get everything in order from a few goroutines,
// though others of them take nothing.
func TestWriters(t *testing.T) {
	const readers, stalled, sends = 20, 4, 200
	var outboxes []*Outbox
	var reading sync.WaitGroup
	got := make([][]received, readers)
	for i := range readers + stalled {
		near, far := tcp(t)
		if err := near.SetWriteBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		server, client := secured(t, near, far)
		o := New(server, fixed(1<<30), nil)
		outboxes = append(outboxes, o)
		if i < readers {
			reading.Go(func() {
				all, err := io.ReadAll(client)
				if err != nil {
					t.Error(err)
				}
				got[i] = chunks(t, bytes.NewReader(all))
			})
		}
	}
	var batch Batch
	most := 0
	for n := range sends {
		batch.Open()
		for i, o := range outboxes {
			size := 64
			if i >= readers {
				size = 4 << 10
			}
			if err := o.SendIn(&batch, chunk(0, n, size)); err != nil {
				t.Fatal(err)
			}
		}
		batch.CloseUnderLock()
		encrypters.mu.Lock()
		most = max(most, encrypters.running)
		encrypters.mu.Unlock()
	}
	for _, o := range outboxes[:readers] {
		o.Finish(nil, false)
		o.Wait()
		_ = o.conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	reading.Wait()
	for i, all := range got {
		for n, c := range all {
			if c.number != n {
				t.Fatalf("connection %d: chunk %d came, %d was due", i, c.number, n)
			}
		}
		if len(all) != sends {
			t.Errorf("connection %d: %d of %d chunks came", i, len(all), sends)
		}
	}
	for i, o := range outboxes[readers:] {
		if o.Queued() == 0 {
			t.Errorf("stalled connection %d has taken everything", i)
		}
	}
	encrypters.mu.Lock()
	allowed := encrypters.most
	encrypters.mu.Unlock()
	if most == 0 || most > allowed {
		t.Errorf("%d goroutines wrote, %d may", most, allowed)
	}
	for _, o := range outboxes {
		underneath(o.conn).Close()
		finish(t, o)
	}
}
