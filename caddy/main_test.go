package caddy

import (
	"fmt"
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	storage, err := os.MkdirTemp("", "realtime")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	caddy.DefaultStorage.Path = storage     // not that of whoever runs the tests
	_ = os.Setenv("XDG_DATA_HOME", storage) // where Caddy keeps its id
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(status int) {
			_ = os.RemoveAll(storage)
			os.Exit(status)
		}),
		// Caddy's own leftover: it ends when it next looks at its lock file.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	)
}
