package redisbroker

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// slots is how many slots a cluster has.
const slots = 1 << 14

// A shardMap says which server of a cluster has the channels of each slot.
type shardMap struct {
	addresses []string     // of the masters
	bySlot    [slots]uint8 // 1 + the index in addresses; 0 for none
}

// parseShards reads the answer to CLUSTER SLOTS. The host is the one that was asked: servers that do
// not know their own address leave it out.
func parseShards(ranges []rueidis.RedisMessage, host string) (*shardMap, error) {
	m := new(shardMap)
	index := make(map[string]uint8)
	covered := 0
	for _, r := range ranges {
		fields, err := r.ToArray()
		if err != nil || len(fields) < 3 {
			return nil, errors.New("the answer to CLUSTER SLOTS is malformed")
		}
		first, err1 := fields[0].AsInt64()
		last, err2 := fields[1].AsInt64()
		master, err3 := fields[2].ToArray()
		if err := errors.Join(err1, err2, err3); err != nil || len(master) < 2 || first < 0 || last >= slots || first > last {
			return nil, errors.New("the answer to CLUSTER SLOTS is malformed")
		}
		name, _ := master[0].ToString()
		if name == "" { // or null
			name = host
		}
		port, err := master[1].AsInt64()
		if err != nil || name == "?" {
			return nil, errors.New("the cluster does not know the address of one of its servers yet")
		}
		address := net.JoinHostPort(name, strconv.FormatInt(port, 10))
		number, ok := index[address]
		if !ok {
			if len(m.addresses) == 255 {
				return nil, errors.New("a cluster may have 255 masters at most")
			}
			m.addresses = append(m.addresses, address)
			number = uint8(len(m.addresses))
			index[address] = number
		}
		for slot := first; slot <= last; slot++ {
			if m.bySlot[slot] == 0 {
				covered++
			}
			m.bySlot[slot] = number
		}
	}
	if covered < slots {
		return nil, fmt.Errorf("the cluster is incomplete: %d of %d slots have no server", slots-covered, slots)
	}
	return m, nil
}

// server returns the index of the server that has a channel.
func (m *shardMap) server(channel string) int { return int(m.bySlot[slotOf(channel)]) - 1 }

// slotOf returns the slot of a channel, as the specification of Redis Cluster says: the CRC-16 of
// its name, or of what is in the first braces of it.
func slotOf(channel string) uint16 {
	if begin := strings.IndexByte(channel, '{'); begin >= 0 {
		if length := strings.IndexByte(channel[begin+1:], '}'); length > 0 {
			channel = channel[begin+1 : begin+1+length]
		}
	}
	var crc uint16 // XMODEM: the polynomial is 0x1021
	for i := range len(channel) {
		crc ^= uint16(channel[i]) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
	}
	return crc % slots
}
