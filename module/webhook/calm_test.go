package webhook

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		logger := zap.New(core, zap.WrapCore(newCalmCore))
		other := logger.With(zap.String("more", "x"))
		for range 3 {
			logger.Error("one")
			other.Error("one")
			other.Warn("two")
			logger.Debug("not at all")
			time.Sleep(600 * time.Millisecond)
		}
		var said []string
		for _, line := range lines.All() {
			said = append(said, line.Message)
		}
		if want := []string{"one", "two", "one", "two"}; !slices.Equal(said, want) {
			t.Errorf("the log has %q, want %q", said, want)
		}
	})
}
