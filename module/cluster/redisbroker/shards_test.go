package redisbroker

import "testing"

// The first is the check value of CRC-16/XMODEM, as the specification of Redis Cluster has it.
func TestSlotOf(t *testing.T) {
	for channel, want := range map[string]uint16{
		"123456789":       0x31c3,
		"":                0,
		"{123456789}.x":   0x31c3,
		"x{123456789}{y}": 0x31c3,
	} {
		if got := slotOf(channel); got != want {
			t.Errorf("%q: %d, want %d", channel, got, want)
		}
	}
	// Empty braces and an open one do not count.
	if slotOf("{}a") == slotOf("{}b") || slotOf("{a") == slotOf("{b") {
		t.Error("braces without content choose the slot")
	}
}

func BenchmarkSlotOf(b *testing.B) {
	for b.Loop() {
		slotOf("caddy-realtime:broadcast/default/12345")
	}
}
