package sharedport

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// listen listens as Caddy does.
func listen(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	parsed, err := caddy.ParseNetworkAddress(network + "/" + address)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := parsed.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	listener := opened.(net.Listener)
	t.Cleanup(func() { _ = listener.Close() })
	return plain(listener.Addr().(*net.TCPAddr).AddrPort())
}

// found returns how many sockets of others find finds at an address.
func found(t *testing.T, address netip.AddrPort) int {
	t.Helper()
	sockets, err := find([]netip.AddrPort{address})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sockets {
		if s.address != address {
			t.Errorf("found %v at %v", s, address)
		}
	}
	return len(sockets)
}

// TestFind finds the sockets of another process, and none of this one.
func TestFind(t *testing.T) {
	for _, test := range []struct{ network, address, otherNetwork, otherHost string }{
		{"tcp4", "127.0.0.1", "tcp4", "127.0.0.1"},
		{"tcp4", "127.0.0.1", "tcp4", "0.0.0.0"},
		{"tcp4", "0.0.0.0", "tcp4", "127.0.0.1"},
		{"tcp", "[::]", "tcp", "[::]"},
		{"tcp", "[::]", "tcp4", "127.0.0.1"},
		{"tcp6", "[::1]", "tcp6", "[::1]"},
	} {
		t.Run(test.address+" beside "+test.otherHost, func(t *testing.T) {
			at := listen(t, test.network, test.address+":0")
			port := at.Port()
			again := listen(t, test.network, at.String())
			if n := found(t, again); n != 0 {
				t.Errorf("found %d sockets of others, though both are this process's", n)
			}
			_, end := testcaddy.ListenElsewhere(t, test.otherNetwork, netip.AddrPortFrom(netip.MustParseAddr(trim(test.otherHost)), port).String())
			if n := found(t, at); n != 1 {
				t.Errorf("found %d sockets of others, want 1", n)
			}
			end()
			if n := found(t, at); n != 0 {
				t.Errorf("found %d sockets of others, though it has ended", n)
			}
		})
	}
}

// TestFindWhereNobodyListens finds nothing at an address where only another process listens.
func TestFindWhereNobodyListens(t *testing.T) {
	address, _ := testcaddy.ListenElsewhere(t, "tcp4", "127.0.0.1:0")
	if n := found(t, netip.MustParseAddrPort(address)); n != 0 {
		t.Errorf("found %d sockets", n)
	}
}

// trim returns an IP address without brackets.
func trim(host string) string {
	if host[0] == '[' {
		return host[1 : len(host)-1]
	}
	return host
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		own, other string
		want       bool
	}{
		{"10.0.0.1:80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "10.0.0.1:81", false},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{"10.0.0.1:80", "0.0.0.0:80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"0.0.0.0:80", "[2001:db8::1]:80", false},
		{"0.0.0.0:80", "[::]:80", false},
		{"[::]:80", "0.0.0.0:80", true},
		{"[::]:80", "10.0.0.1:80", true},
		{"[::]:80", "[2001:db8::1]:80", true},
		{"[2001:db8::1]:80", "[::]:80", true},
		{"[2001:db8::1]:80", "0.0.0.0:80", false},
	} {
		if got := overlap(netip.MustParseAddrPort(test.own), netip.MustParseAddrPort(test.other)); got != test.want {
			t.Errorf("%s and %s: %t, want %t", test.own, test.other, got, test.want)
		}
	}
}
