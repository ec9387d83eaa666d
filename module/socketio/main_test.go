package socketio

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

var defaults = realtime.Limits{}.WithDefaults()

func TestMain(m *testing.M) { leak.Main(m) }
