//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/packet"
)

// TestHandle cuts what a client sends at every byte.
func TestHandle(t *testing.T) {
	mask := func(payload string) []byte {
		frame := appendFrame(nil, []byte(payload))
		header := len(frame) - len(payload)
		frame[1] |= 0x80
		masked := append(bytes.Clone(frame[:header]), 1, 2, 3, 4)
		for i := range len(payload) {
			masked = append(masked, payload[i]^masked[header+i&3])
		}
		return masked
	}
	// The key and its answer are the example of RFC 6455, section 1.3.
	sent := []byte("GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	sent = append(sent, mask("40")...)
	sent = append(sent, mask(`427["message","`+strings.Repeat("x", 200)+`"]`)...)
	want := "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" + string(appendFrame(nil, []byte(packet.Open))) +
		string(appendFrame(nil, []byte(packet.Connected))) + "\x81\x05437[]"

	for cut := range sent {
		s, c := &server{}, &client{}
		rest, err := s.handle(c, bytes.Clone(sent[:cut]))
		if err == nil {
			rest, err = s.handle(c, append(bytes.Clone(rest), sent[cut:]...))
		}
		if err != nil || len(rest) > 0 || !strings.HasSuffix(string(s.out), want) {
			t.Fatalf("cut at %d: %q with %q left, %v; want the end %q", cut, s.out, rest, err, want)
		}
	}
}
