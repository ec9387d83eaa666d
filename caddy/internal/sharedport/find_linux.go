package sharedport

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/reuseport"
)

// find returns the sockets of other processes that get connections to those of the addresses where
// this process listens. A socket of this process that opens or closes meanwhile may be among them.
func find(addresses []netip.AddrPort) ([]socket, error) {
	var rows []reuseport.Row
	for _, table := range []string{reuseport.TableIPv4, reuseport.TableIPv6} {
		listening, err := reuseport.Listening(table)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		rows = append(rows, listening...)
	}
	own, err := ownSockets()
	if err != nil {
		return nil, err
	}
	var found []socket
	for _, address := range addresses {
		if !slices.ContainsFunc(rows, func(row reuseport.Row) bool {
			return row.Address == address && own[row.Inode]
		}) {
			continue
		}
		for _, row := range rows {
			if !own[row.Inode] && overlap(address, row.Address) {
				found = append(found, socket{row.Inode, address})
			}
		}
	}
	return found, nil
}

// overlap reports whether a socket at the address other may get connections to an address of this
// process. A socket at :: may take IPv4, too. Those of Go do. The tables do not say so of others,
// so these count for IPv6 only.
func overlap(own, other netip.AddrPort) bool {
	switch a, b := own.Addr(), other.Addr(); {
	case own.Port() != other.Port():
		return false
	case a == b, a == netip.IPv6Unspecified():
		return true
	default:
		return a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
	}
}

// ownSockets returns the inodes of the sockets that this process has open.
func ownSockets() (map[uint64]bool, error) {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	sockets := make(map[uint64]bool)
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(folder, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); isSocket && err == nil {
			sockets[inode] = true
		}
	}
	return sockets, nil
}
