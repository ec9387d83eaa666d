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

// statsJSON is the JSON of Stats. Instead of the total it has the mean. Times are in milliseconds.
type statsJSON struct {
	Count  uint64  `json:"count"`
	Failed uint64  `json:"failed"`
	MeanMS float64 `json:"mean_ms"`
	MaxMS  float64 `json:"max_ms"`
}

// MarshalJSON implements json.Marshaler.
func (s Stats) MarshalJSON() ([]byte, error) {
	written := statsJSON{Count: s.Count, Failed: s.Failed, MaxMS: milliseconds(s.Max)}
	if s.Count > 0 {
		written.MeanMS = milliseconds(s.Total) / float64(s.Count)
	}
	return json.Marshal(written)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Stats) UnmarshalJSON(data []byte) error {
	var read statsJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*s = Stats{Count: read.Count, Failed: read.Failed, Total: duration(read.MeanMS * float64(read.Count)), Max: duration(read.MaxMS)}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
