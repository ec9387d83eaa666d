package test

import (
	"os"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m))
}
