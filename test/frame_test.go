package test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// rawFrame returns a WebSocket frame of a client, which may be wrong.
func rawFrame(first byte, masked bool, length uint64, payload string) []byte {
	frame := []byte{first}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch {
	case length < 126:
		frame = append(frame, mask|byte(length))
	case length < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, mask|126), uint16(length))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, mask|127), length)
	}
	if masked {
		frame = append(frame, 0, 0, 0, 0) // a mask that changes nothing
	}
	return append(frame, payload...)
}

// TestMalformedFrames checks the close codes for frames that violate RFC 6455.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	const (
		protocolError = websocket.CloseProtocolError
		invalid       = websocket.CloseInvalidFramePayloadData
		tooBig        = websocket.CloseMessageTooBig
	)
	frame := func(first byte, payload string) []byte { return rawFrame(first, true, uint64(len(payload)), payload) }
	join := func(frames ...[]byte) (all []byte) {
		for _, f := range frames {
			all = append(all, f...)
		}
		return all
	}
	cases := map[string]struct {
		bytes []byte
		codes []int
	}{
		"unmasked":                  {rawFrame(0x81, false, 1, "3"), []int{protocolError}},
		"a reserved bit":            {frame(0xc1, "3"), []int{protocolError}},
		"an unknown opcode":         {frame(0x83, "3"), []int{protocolError}},
		"a continuation of nothing": {frame(0x80, "3"), []int{protocolError}},
		"a message in a message":    {join(frame(0x01, "3"), frame(0x81, "3")), []int{protocolError}},
		"a ping in fragments":       {frame(0x09, "x"), []int{protocolError}},
		"a ping of 126 bytes":       {frame(0x89, strings.Repeat("x", 126)), []int{protocolError}},
		"bad UTF-8":                 {frame(0x81, "4\xff"), []int{invalid}},
		"bad UTF-8 in a close":      {frame(0x88, "\x03\xe8\xff"), []int{protocolError, invalid}},
		"a bad close code":          {frame(0x88, "\x00\x01"), []int{protocolError}},
		"half a close code":         {frame(0x88, "\x03"), []int{protocolError, websocket.CloseNoStatusReceived}},
		"oversized":                 {rawFrame(0x81, true, 1_000_001, "4"), []int{tooBig}},
		"of 2^63 bytes":             {rawFrame(0x81, true, 1<<63, "4"), []int{protocolError, tooBig}},
		"of 2^64-1 bytes":           {rawFrame(0x81, true, 1<<64-1, "4"), []int{protocolError, tooBig}},
		"oversized in fragments": {join(frame(0x01, strings.Repeat("x", 600_000)), frame(0x80, strings.Repeat("x", 600_000))),
			[]int{tooBig}},
	}
	for name, c := range cases {
		for kind, open := range map[string]func(*testing.T, *harness.Server) *harness.WebSocket{"engine.io": harness.ConnectWebSocket, "plain": harness.ConnectPlain} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				mark := s.LogEnd(t)
				ws := open(t, s)
				if _, err := ws.NetConn().Write(c.bytes); err != nil {
					t.Fatal(err)
				}
				code := ws.WaitClosed()
				ok := false
				for _, want := range c.codes {
					ok = ok || code == want
				}
				if !ok {
					t.Errorf("the close code is %d, not of %v", code, c.codes)
				}
				s.Log.Wait(t, mark, "disconnected")
				if ended := harness.WithMessage(s.LogSince(t, mark), "disconnected"); len(ended) != 1 {
					t.Errorf("the log has not one line of the end:\n%s", s.Log.Text(mark))
				}
				w.Check(t)
			})
		}
	}
	t.Run("a message in a thousand fragments", func(t *testing.T) {
		ws := harness.ConnectWebSocket(t, s)
		text := `429["message-with-ack","` + strings.Repeat("x", 1000) + `"]`
		var all []byte
		for i := range len(text) {
			first := byte(0x00)
			if i == 0 {
				first = 0x01
			}
			all = append(all, frame(first, text[i:i+1])...)
			if i%100 == 0 {
				all = append(all, frame(0x89, "between")...) // a ping may come between
			}
		}
		all = append(all, frame(0x80, "")...)
		if _, err := ws.NetConn().Write(all); err != nil {
			t.Fatal(err)
		}
		if got := ws.Receive(); got != `439["`+strings.Repeat("x", 1000)+`"]` {
			t.Errorf("the ack is %.100s", got)
		}
	})
}
