package caddy

import (
	"reflect"
	"runtime/debug"
	"strings"
)

// version is set by a build that knows it better than Go does:
//
//	go build -ldflags '-X github.com/caddy-realtime/caddy-realtime/caddy.version=v1.2.3' ./caddy/realtime
var version string

// Version returns the version of this module in the running program, such as
// "v1.2.3". It is "(devel)" where neither the build nor Go knows it.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	return moduleVersion(info, reflect.TypeFor[App]().PkgPath())
}

// moduleVersion returns the version of the module that a package belongs to.
func moduleVersion(info *debug.BuildInfo, packagePath string) string {
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path == "" || !strings.HasPrefix(packagePath, module.Path+"/") {
			continue
		}
		if module.Replace != nil && module.Replace.Version != "" {
			return module.Replace.Version
		}
		if module.Version != "" {
			return module.Version
		}
	}
	return "(devel)"
}
