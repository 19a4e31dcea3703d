# Genkan. "make test" and "make demo" want root and Go, on a fresh Debian too.
export GO ?= go
export GOFLAGS += -buildvcs=false # under sudo, git does not trust the clone

build:          ## bin/genkan, one static file
	./cmd/genkan/dist/build.sh

demo: build     ## the whole thing in network namespaces on this machine
	./bin/genkan demo

test: setup lint ## everything that is proven; the parts with the race detector
	$(GO) test -race -timeout 30m $$($(GO) list ./... | grep -Ev '/integration(/kernel)?$$')
	$(GO) test -timeout 30m ./integration/kernel
	$(GO) test -timeout 30m ./integration

test-kernel: setup ## the tunnel against the sit of real Linux kernels, in a VM
	$(GO) test -count 1 -v -timeout 30m -run TestVM ./integration/kernel

test-reliability: setup ## reloads, upgrades and kills under load, with the figures
	GENKAN_RELIABILITY=long $(GO) test -count 1 -v -timeout 90m -run "Reload|Upgrade|Kills|Reliab|TwoProc|FullDisk|TenThousand|UnderLoad|FTPSBulk|Soak|LongContent|SlowClients|EveryByte|ManyAtOnce|OutOfDescriptors|MutationsAre|TestAdmin|RefusesStrangers" ./integration ./proxy ./proxy/pipe ./cmd/genkan
	$(GO) test -race -timeout 30m ./...

setup:          ## Debian packages and kernels that the tests need
	./integration/setup.sh

lint: ; ./.ci/lint
fuzz:           ## each fuzz target for 30 s; FUZZTIME=5m for longer
	./.ci/fuzz

bench: build    ## against other proxies and tunnels, side by side
	$(GO) run ./integration/bench
	$(GO) run ./integration/bench -http -rounds 3 -time 2s
	$(GO) run ./integration/bench -tunnel
	$(GO) test -run '^$$' -bench ListLoad -benchtime 3x ./integration/bench
	$(GO) test -run '^$$' -bench 'TenRules|Million' ./acl ./acl/limit

install: build  ## the program, its unit, manuals and completions into DESTDIR/PREFIX
	./cmd/genkan/dist/install.sh
package: build  ## dist/*.deb and dist/*.rpm
	./cmd/genkan/dist/package.sh
clean: ; rm -rf bin dist

.PHONY: build demo test test-kernel test-reliability setup lint fuzz bench install package clean
