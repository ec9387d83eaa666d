# What a developer runs. The first build of Caddy takes minutes, later ones seconds.

.PHONY: test deps specifications chaos lint fuzz bench build

# All tests, under the race detector, with real clients and a real browser.
test: deps
	gofmt -l . | grep -v node_modules | (! grep .)
	go vet ./...
	go test -race -timeout 60m ./...

# What the tests need and a fresh machine lacks. It says what it does.
deps: test/node_modules/.package-lock.json examples/fastify/node_modules/.package-lock.json
	@command -v gcc >/dev/null || { echo "The race detector needs a C compiler: installing Debian's gcc"; $(APT) gcc libc6-dev; }
	@/usr/bin/python3 -c 'import socketio, requests, websocket' 2>/dev/null || { echo "A client in Python is tested, too: installing Debian's python3-socketio"; $(APT) python3-socketio python3-requests python3-websocket; }
	@test -x /usr/bin/chromium || { echo "The chat is tested in a browser: installing Debian's chromium"; $(APT) chromium; }

APT = command -v apt-get >/dev/null || { echo "no apt-get here: install it by hand" >&2; exit 1; }; \
	apt-get -qq update && apt-get -qq install -y --no-install-recommends

test/node_modules/.package-lock.json: test/package.json test/package-lock.json
	@command -v npm >/dev/null || { echo "The clients run on Node: installing Debian's nodejs and npm"; $(APT) nodejs npm; }
	@echo "Installing the real clients from npm, as test/package-lock.json pins them"
	npm ci --prefix test --no-audit --no-fund --loglevel=error
	@touch $@

examples/fastify/node_modules/.package-lock.json: examples/fastify/package.json examples/fastify/package-lock.json
	@command -v npm >/dev/null || { echo "An example runs on Node: installing Debian's nodejs and npm"; $(APT) nodejs npm; }
	npm ci --prefix examples/fastify --no-audit --no-fund --loglevel=error
	@touch $@

# The test suites of the protocols' own specifications, as they are, from the
# folder docs of a checkout of socketio/socket.io:
# make specifications SUITES=/tmp/socket.io/docs RUNS=20
RUNS ?= 5
specifications: deps
	SUITES=$(abspath $(SUITES)) RUNS=$(RUNS) go test -tags specifications -run TestOriginals -count 1 -timeout 2h -v ./test

# The fault tests as large as the README says: minutes of reloads, an exit, a kill
# and deploys, with thousands of clients. It prints the figures, and leaves them in
# dist/testchaos*.md. make test has the same, smaller, under the race detector.
chaos: deps
	CHAOS=full go test -run 'TestChaos' -count 1 -timeout 1h -v ./test

# The linters of .golangci.yml.
lint:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

# Every fuzz target for a while: make fuzz FUZZTIME=60s
FUZZTIME ?= 20s
fuzz:
	@for package in $$(go list ./module/... ./caddy); do \
		for target in $$(go test -list '^Fuzz' $$package | grep ^Fuzz); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package || exit 1; \
		done; \
	done

# The figures of the README: this server beside npm socket.io, in one run.
bench:
	go run ./bench -markdown

build:
	go build -o dist/caddy ./caddy/realtime
