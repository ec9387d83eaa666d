package handover

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitQuiet: a connection that has left the kernel's queue, and that the
// server tells of a few looks later, is waited for.
func TestAwaitQuiet(t *testing.T) {
	for name, test := range map[string]struct {
		busy  func(look int) bool
		looks int // when it ends
	}{
		"nothing comes":          {func(int) bool { return false }, quietLooks},
		"seen, unseen, and seen": {func(look int) bool { return look <= 3 || look >= 10 && look <= 12 }, 12 + quietLooks},
		"it never ends":          {func(look int) bool { return look%quietLooks == 0 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, looks := time.Now(), 0
				awaitQuiet(handoverLimit, func() bool { looks++; return test.busy(looks) })
				took := time.Since(begin)
				if test.looks > 0 && (looks != test.looks || took >= handoverLimit) {
					t.Errorf("it ends after %d looks and %v, not after %d", looks, took, test.looks)
				}
				if test.looks == 0 && took != handoverLimit {
					t.Errorf("it ends after %v, not after %v", took, handoverLimit)
				}
			})
		})
	}
}
