// Package reuseport says which of several sockets that listen at one address by
// SO_REUSEPORT gets the connections.
package reuseport

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket is a listening TCP socket. It is no hold on the socket: what is asked
// of one that has been closed fails.
type Socket struct {
	// Inode is its number, as the tables of the kernel have it.
	Inode uint64

	raw     syscall.RawConn
	table   string // of the kernel's, that has it
	network string
	address string
	listen  Listen
}

// A Listen opens an address with SO_REUSEPORT, and what a configuration says.
type Listen func(network, address string, config net.ListenConfig) (net.Listener, error)

// Find returns the socket of a listener. It reports false where there is none.
// The address may have to be opened once more by listen.
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

// identify finds out what others have to be of to be in the socket's group.
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
		s.table, s.network = "/proc/net/tcp", "tcp4"
		return nil
	}
	only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	s.table, s.network = "/proc/net/tcp6", "tcp"
	if only != 0 {
		s.network = "tcp6"
	}
	return err
}

// Group returns the inodes of all sockets that listen at the socket's address,
// whosever they are, in no particular order.
func (s *Socket) Group() ([]uint64, error) {
	table, err := os.Open(s.table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = table.Close() }()
	groups := make(map[string][]uint64) // by address
	own := ""
	rows := bufio.NewScanner(table)
	rows.Scan() // the heading
	for rows.Scan() {
		const address, state, inode, listen = 1, 3, 9, "0A"
		fields := strings.Fields(rows.Text())
		if len(fields) <= inode {
			return nil, fmt.Errorf("%s has a row %q", s.table, rows.Text())
		}
		if fields[state] != listen {
			break // those that listen come first, and of the others there may be many
		}
		n, err := strconv.ParseUint(fields[inode], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s has a row %q", s.table, rows.Text())
		}
		groups[fields[address]] = append(groups[fields[address]], n)
		if n == s.Inode {
			own = fields[address]
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if own == "" {
		return nil, net.ErrClosed
	}
	return groups[own], nil
}

// Steer has the kernel give all connections that begin from now on to one of the
// sockets of the group, even one that joins later. They are numbered from 0 in
// the order in which they began to listen; but when one closes, the last takes
// its number. While there is none of the number, each gets a share.
func (s *Socket) Steer(number uint32) error {
	// The program returns the number, whatever it is given. In the language of
	// BPF's first edition it needs no privileges.
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: number}}
	return s.ofGroup(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// Share ends what Steer began: each socket of the group gets a share.
func (s *Socket) Share() error {
	return s.ofGroup(func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
		if errors.Is(err, unix.ENOENT) { // nothing was attached
			return nil
		}
		return err
	})
}

// ofGroup sets an option that the group has as a whole. Go's listeners are of
// Multipath TCP (RFC 8684) where the kernel has it, and such a socket refuses
// what the TCP socket within it could do. Any member may ask, and so another
// joins for a moment, as the last. It takes nothing, since what it took would be
// lost: a client that comes to it in the few microseconds before the option is
// set has no answer, and tries again a second later.
func (s *Socket) ofGroup(set func(fd int) error) error {
	err := s.control(set)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var member syscall.RawConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		member = raw
		return control(raw, s.deafen)
	}}
	config.SetMultipathTCP(false)
	listener, err := s.listen(s.network, s.address, config)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	return control(member, set)
}

// deafen has a socket drop what comes in, without a word: by RFC 5082 it takes
// only what has the largest time to live, and systems begin with less. A filter
// would be plainer, but not every kernel leaves it to everyone.
func (s *Socket) deafen(fd int) error {
	const least = 255
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, least) // over IPv4, whatever the socket's domain
	if err == nil && s.network != "tcp4" {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, least)
	}
	return err
}

// Queued returns how many connections wait for being accepted.
func (s *Socket) Queued() (int, error) {
	n := 0
	err := s.control(func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Unacked) // that is what it means of a socket that listens
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
