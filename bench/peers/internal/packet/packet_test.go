package packet

import "testing"

func TestParse(t *testing.T) {
	for packet, want := range map[string]struct {
		kind Kind
		id   string
	}{
		"40":                   {Connect, ""},
		"3":                    {Other, ""},
		"42":                   {Other, ""},
		`420["join","bench"]`:  {Join, "0"},
		`42["message","x"]`:    {Event, ""},
		`4217["message","[x"]`: {AckedEvent, "17"},
	} {
		kind, id := Parse([]byte(packet))
		if kind != want.kind || string(id) != want.id {
			t.Errorf("%s: kind %d with id %q, want %d with %q", packet, kind, id, want.kind, want.id)
		}
	}
}

func TestAppendAck(t *testing.T) {
	if got := string(AppendAck(nil, []byte("17"))); got != "4317[]" {
		t.Errorf("got %s", got)
	}
}
