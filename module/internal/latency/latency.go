// Package latency has figures of how long requests take.
package latency

import (
	"encoding/json"
	"time"
)

// Stats are the figures of requests of one type.
type Stats struct {
	Count  uint64
	Failed uint64 // no answer, or a status of 500 and above
	Total  time.Duration
	Max    time.Duration
}

// Plus returns the figures of the requests of both.
func (s Stats) Plus(other Stats) Stats {
	return Stats{
		Count:  s.Count + other.Count,
		Failed: s.Failed + other.Failed,
		Total:  s.Total + other.Total,
		Max:    max(s.Max, other.Max),
	}
}

// MarshalJSON implements json.Marshaler. Instead of the total it writes the mean. Times are in
// milliseconds.
func (s Stats) MarshalJSON() ([]byte, error) {
	written := struct {
		Count  uint64  `json:"count"`
		Failed uint64  `json:"failed"`
		MeanMS float64 `json:"mean_ms"`
		MaxMS  float64 `json:"max_ms"`
	}{Count: s.Count, Failed: s.Failed, MaxMS: milliseconds(s.Max)}
	if s.Count > 0 {
		written.MeanMS = milliseconds(s.Total) / float64(s.Count)
	}
	return json.Marshal(written)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
