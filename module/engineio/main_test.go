package engineio

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
