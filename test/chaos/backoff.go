package chaos

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Backoff is how long a client waits before it tries to connect again. Its fields are
// the options of socket.io-client.
type Backoff struct {
	Delay    time.Duration // before the first attempt; default 1 s
	DelayMax time.Duration // default 5 s
	Jitter   float64       // randomizationFactor; default 0.5
}

// pause returns the wait after a number of failed attempts.
func (b Backoff) pause(attempts int) time.Duration {
	delay, most, jitter := b.Delay, b.DelayMax, b.Jitter
	if delay == 0 {
		delay = time.Second
	}
	if most == 0 {
		most = 5 * time.Second
	}
	if jitter == 0 {
		jitter = 0.5
	}
	pause := float64(delay) * math.Pow(2, float64(attempts))
	pause *= 1 + jitter*(2*rand.Float64()-1)
	return time.Duration(min(pause, float64(most)))
}
