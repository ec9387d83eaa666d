package latency

import (
	"encoding/json"
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	for want, s := range map[string]Stats{
		`{"count":0,"failed":0,"mean_ms":0,"max_ms":0}`:     {},
		`{"count":4,"failed":1,"mean_ms":2.5,"max_ms":7.5}`: Stats{Count: 3, Total: 3 * time.Millisecond, Max: 2 * time.Millisecond}.Plus(Stats{1, 1, 7 * time.Millisecond, 7500 * time.Microsecond}),
	} {
		if got, err := json.Marshal(s); err != nil || string(got) != want {
			t.Errorf("%+v is written as %s, %v; want %s", s, got, err, want)
		}
		var read Stats
		if err := json.Unmarshal([]byte(want), &read); err != nil || read != s {
			t.Errorf("%s is read as %+v, %v; want %+v", want, read, err, s)
		}
	}
}
