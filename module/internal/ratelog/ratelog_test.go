package ratelog

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		limiter := new(Limiter)
		logger := zap.New(core, zap.WrapCore(limiter.Wrap))
		other := zap.New(core, zap.WrapCore(limiter.Wrap)).With(zap.String("more", "x"))
		for i := range 300 {
			logger.Error("one", zap.Int("i", i))
			other.Error("one", zap.Int("i", i))
			logger.Debug("not at all")
			if i%100 == 0 {
				other.Warn("two")
			}
			time.Sleep(9 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		logger.Error("one", zap.String("i", "last"))
		time.Sleep(time.Minute)
		for message, want := range map[string][]string{
			"one": {"map[i:0]", "map[i:111 more:x times:223]", "map[i:222 more:x times:222]", "map[i:299 more:x times:154]", "map[i:last]"},
			"two": {"map[more:x]", "map[more:x]", "map[more:x]"},
		} {
			var written []string
			for _, line := range lines.FilterMessage(message).All() {
				written = append(written, fmt.Sprint(line.ContextMap()))
			}
			if !slices.Equal(written, want) {
				t.Errorf("of %q the log has\n%q, want\n%q", message, written, want)
			}
		}
		if lines.Len() != 8 {
			t.Errorf("the log has %d lines", lines.Len())
		}
	})
}

// TestLevels: each core within gets what it wants.
func TestLevels(t *testing.T) {
	all, allLines := observer.New(zapcore.InfoLevel)
	errors, errorLines := observer.New(zapcore.ErrorLevel)
	logger := zap.New(zapcore.NewTee(all, errors), zap.WrapCore(New))
	logger.Info("one")
	logger.Error("two")
	if allLines.Len() != 2 || errorLines.Len() != 1 {
		t.Errorf("they have %d and %d lines", allLines.Len(), errorLines.Len())
	}
}
