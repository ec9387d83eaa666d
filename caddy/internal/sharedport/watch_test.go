package sharedport

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A bound listener has an address and nothing else.
type bound struct {
	net.Listener
	address net.Addr
}

func (b bound) Addr() net.Addr { return b.address }

// at returns listeners at addresses.
func at(addresses ...string) (listeners []net.Listener) {
	for _, address := range addresses {
		listeners = append(listeners, bound{address: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))})
	}
	return listeners
}

// watched returns a Watch whose looks find what find returns, and what it logs.
func watched(find func([]netip.AddrPort) ([]socket, error)) (*Watch, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.WarnLevel)
	w := New(func() *zap.Logger { return zap.New(core) })
	w.find = find
	return w, logs
}

const exit = 40 * time.Second

// TestWarn looks twice, as long apart as an exit takes. It warns of sockets that are there both
// times.
func TestWarn(t *testing.T) {
	first, second := netip.MustParseAddrPort("[::]:80"), netip.MustParseAddrPort("[::]:443")
	for _, test := range []struct {
		name   string
		looks  [][]socket
		shared []string
	}{
		{"nobody", [][]socket{nil}, nil},
		{"somebody", [][]socket{{{1, first}}, {{1, first}}}, []string{"[::]:80"}},
		{"several", [][]socket{{{1, first}, {2, first}, {3, second}}, {{1, first}, {2, first}, {3, second}}}, []string{"[::]:80", "[::]:443"}},
		{"one that exits", [][]socket{{{1, first}}, nil}, nil},
		{"one of two exits", [][]socket{{{1, first}, {2, second}}, {{2, second}}}, []string{"[::]:443"}},
		{"one that reloads", [][]socket{{{1, first}}, {{2, first}}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				looks := test.looks
				w, logs := watched(func([]netip.AddrPort) ([]socket, error) {
					found := looks[0]
					looks = looks[1:]
					return found, nil
				})
				w.Look(at("[::]:80", "[::]:443"), exit)
				w.running.Wait()
				if len(looks) > 0 {
					t.Errorf("%d looks are left", len(looks))
				}
				if took := time.Since(began); len(test.looks) > 1 && took != exit {
					t.Errorf("the second look came after %v", took)
				}
				var shared []string
				for _, line := range logs.All() {
					for _, address := range line.ContextMap()["addresses"].([]any) {
						shared = append(shared, address.(string))
					}
				}
				if !slices.Equal(shared, test.shared) || logs.Len() > 1 {
					t.Errorf("%d lines name %v, want %v", logs.Len(), shared, test.shared)
				}
			})
		})
	}
}

// TestReload looks again only at addresses that a reload has added.
func TestReload(t *testing.T) {
	var looks [][]netip.AddrPort
	w, _ := watched(func(addresses []netip.AddrPort) ([]socket, error) {
		looks = append(looks, addresses)
		return nil, errors.New("no table")
	})
	for _, step := range []struct{ listen, want []string }{
		{[]string{"[::]:80"}, []string{"[::]:80"}},
		{[]string{"[::]:80"}, nil},
		{[]string{"[::]:80", "127.0.0.1:81"}, []string{"127.0.0.1:81"}},
		{[]string{"127.0.0.1:81"}, nil},
		{[]string{"[::]:80", "127.0.0.1:81"}, []string{"[::]:80"}},
		{[]string{"[::ffff:127.0.0.1]:81"}, nil}, // the same address
		{[]string{"[fe80::1%eth0]:80"}, []string{"[fe80::1]:80"}},
	} {
		looks = nil
		w.Look(at(step.listen...), exit)
		w.running.Wait()
		var got []string
		for _, look := range looks {
			for _, address := range look {
				got = append(got, address.String())
			}
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("listening at %v, it looks at %v, not at %v", step.listen, got, step.want)
		}
	}
	w.Look([]net.Listener{bound{address: &net.UnixAddr{Name: "/run/x"}}}, exit)
	w.Close()
}

// TestClose ends a wait. Nothing is looked at afterwards.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		looks := 0
		w, logs := watched(func(addresses []netip.AddrPort) ([]socket, error) {
			looks++
			return []socket{{1, addresses[0]}}, nil
		})
		w.Look(at("[::]:80"), exit)
		synctest.Wait()
		w.Close()
		w.Close()
		w.Look(at("[::]:81"), exit)
		if took := time.Since(began); looks != 1 || logs.Len() != 0 || took != 0 {
			t.Errorf("%d looks and %d lines after %v", looks, logs.Len(), took)
		}
	})
}
