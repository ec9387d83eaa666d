package room

import (
	"slices"
	"testing"
)

func TestOthers(t *testing.T) {
	var r Room[string]
	others := func(sender string) []string {
		var got []string
		r.Others(sender, func(member string) { got = append(got, member) })
		return slices.Sorted(slices.Values(got))
	}
	for _, member := range []string{"a", "b", "b", "c", "d"} {
		r.Join(member)
	}
	r.Leave("a")
	r.Leave("x")
	if got := others("b"); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("the others of b are %q", got)
	}
	r.Leave("d")
	if got := others("b"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("after d has left, the others of b are %q", got)
	}
	if got := others("a"); got != nil {
		t.Errorf("a has left and still sends to %q", got)
	}
}
