package caddy

import (
	"runtime/debug"
	"testing"
)

func TestModuleVersion(t *testing.T) {
	t.Parallel()
	const ours = "github.com/caddy-realtime/caddy-realtime"
	for _, tt := range []struct {
		what string
		info debug.BuildInfo
		want string
	}{
		{"the ready-made binary", debug.BuildInfo{Main: debug.Module{Path: ours, Version: "v1.2.3"}}, "v1.2.3"},
		{"a build of xcaddy", debug.BuildInfo{
			Main: debug.Module{Path: "caddy", Version: "(devel)"},
			Deps: []*debug.Module{{Path: ours + "-other", Version: "v9.9.9"}, {Path: ours, Version: "v1.2.3"}},
		}, "v1.2.3"},
		{"a build with a fork", debug.BuildInfo{Deps: []*debug.Module{
			{Path: ours, Version: "v1.2.3", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.2.4"}},
		}}, "v1.2.4"},
		{"a build of a checkout", debug.BuildInfo{Deps: []*debug.Module{
			{Path: ours, Version: "v0.0.0-00010101000000-000000000000", Replace: &debug.Module{Path: "."}},
		}}, "v0.0.0-00010101000000-000000000000"},
		{"a build without version control", debug.BuildInfo{Main: debug.Module{Path: ours, Version: "(devel)"}}, "(devel)"},
		{"a build without modules", debug.BuildInfo{}, "(devel)"},
	} {
		if got := moduleVersion(&tt.info, ours+"/caddy"); got != tt.want {
			t.Errorf("%s has version %q, want %q", tt.what, got, tt.want)
		}
	}
}
