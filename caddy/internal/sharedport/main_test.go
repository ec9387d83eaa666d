package sharedport

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

func TestMain(m *testing.M) { testcaddy.Main(m) }
