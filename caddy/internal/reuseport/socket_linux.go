// Package reuseport tells the kernel which of several sockets that listen at one address
// (SO_REUSEPORT) gets the new connections. These sockets are a group.
package reuseport

import (
	"errors"
	"net"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket refers to a listening TCP socket, but does not keep it open: once it is closed,
// methods fail.
type Socket struct {
	// Inode is its number in the kernel's tables.
	Inode uint64

	raw     syscall.RawConn
	table   string // the kernel's table that has it
	network string
	address string
	listen  Listen
}

// A Listen listens at an address with SO_REUSEPORT and a net.ListenConfig.
type Listen func(network, address string, config net.ListenConfig) (net.Listener, error)

// Find returns the socket of a listener. It reports false if there is none. Steer and
// Share may call listen, to listen at the address once more for a moment.
func Find(listener net.Listener, listen Listen) (*Socket, bool) {
	bottom, ok := innermost(listener)
	if !ok || listener.Addr().Network() != "tcp" {
		return nil, false
	}
	raw, err := bottom.SyscallConn()
	if err != nil {
		return nil, false
	}
	s := &Socket{raw: raw, address: listener.Addr().String(), listen: listen}
	if err := s.control(s.identify); err != nil {
		return nil, false
	}
	return s, true
}

// identify finds out where the kernel lists the socket, and by which network another
// socket listens in the same group.
func (s *Socket) identify(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	s.Inode = stat.Ino
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET {
		s.table, s.network = TableIPv4, "tcp4"
		return nil
	}
	only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	s.table, s.network = TableIPv6, "tcp"
	if only != 0 {
		s.network = "tcp6"
	}
	return err
}

// Group returns the inodes of all sockets that listen at the socket's address, of other
// processes, too, in no particular order.
func (s *Socket) Group() ([]uint64, error) {
	rows, err := Listening(s.table)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rows, func(row Row) bool { return row.Inode == s.Inode })
	if i < 0 {
		return nil, net.ErrClosed
	}
	var group []uint64
	for _, row := range rows {
		if row.Address == rows[i].Address {
			group = append(group, row.Inode)
		}
	}
	return group, nil
}

// Steer makes the kernel give all new connections to the socket of the group that has a
// number. Sockets are numbered from 0 in the order in which they began to listen. When one
// closes, the last one gets its number. As long as no socket has the number, each gets a
// share of the connections.
func (s *Socket) Steer(number uint32) error {
	// The program returns the number for every packet. A program of classic BPF needs no
	// privileges.
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: number}}
	return s.ofGroup(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// Share undoes Steer: each socket of the group gets a share of the new connections.
func (s *Socket) Share() error {
	return s.ofGroup(func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
		if errors.Is(err, unix.ENOENT) { // nothing was attached
			return nil
		}
		return err
	})
}

// ofGroup sets an option of the whole group. Where the kernel has Multipath TCP (RFC 8684),
// Go's listeners use it, and their sockets refuse the option. Any socket of the group may
// set it, so a plain TCP socket joins the group for a moment, as the last one. Connections
// to it would be lost, so it drops what it receives: a client that the kernel sends to it in
// the few microseconds before the option is set gets no answer, and tries again a second
// later.
func (s *Socket) ofGroup(set func(fd int) error) error {
	err := s.control(set)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var member syscall.RawConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		member = raw
		return control(raw, s.dropInput)
	}}
	config.SetMultipathTCP(false)
	listener, err := s.listen(s.network, s.address, config)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	return control(member, set)
}

// dropInput makes a socket drop all packets without an answer: it accepts only those with
// the largest time to live (RFC 5082), and systems send with less. A socket filter would be
// simpler, but some kernels demand privileges for it.
func (s *Socket) dropInput(fd int) error {
	const least = 255
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, least) // IPv6 sockets may accept IPv4
	if err == nil && s.network != "tcp4" {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, least)
	}
	return err
}

// Queued returns how many connections wait to be accepted.
func (s *Socket) Queued() (int, error) {
	n := 0
	err := s.control(func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Unacked) // which has this meaning for a listening socket
		}
		return err
	})
	return n, err
}

func (s *Socket) control(f func(fd int) error) error { return control(s.raw, f) }

func control(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
