package reuseport

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// The kernel's tables of TCP sockets in the process's network namespace.
const (
	TableIPv4 = "/proc/net/tcp"
	TableIPv6 = "/proc/net/tcp6" // missing where the system has no IPv6
)

// A Row is a listening socket in one of the kernel's tables.
type Row struct {
	Address netip.AddrPort
	Inode   uint64
}

// Listening returns the sockets of a table that listen, of all processes, in no particular order.
func Listening(table string) ([]Row, error) {
	file, err := os.Open(table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var found []Row
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		const address, state, inode, listen = 1, 3, 9, "0A"
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode {
			return nil, fmt.Errorf("%s has a row %q", table, lines.Text())
		}
		if fields[state] != listen {
			break // the table begins with those that listen; many others may follow
		}
		var row Row
		if row.Address, err = parseAddress(fields[address]); err == nil {
			row.Inode, err = strconv.ParseUint(fields[inode], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("%s has a row %q: %w", table, lines.Text(), err)
		}
		found = append(found, row)
	}
	return found, lines.Err()
}

// parseAddress parses an address as the kernel writes it: words of 32 bits, each in the machine's
// byte order, and a port.
func parseAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(bytes); i += 4 {
		binary.NativeEndian.PutUint32(bytes[i:], binary.BigEndian.Uint32(bytes[i:]))
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no IP address", host)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}
