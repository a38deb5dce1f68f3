// Package proxies measures the router beside nginx, HAProxy and two proxies
// written in Go, and writes reports/bench/router.md. make bench-router runs it.
//
// Invariant: what is compared was measured in one run, with one load, in turns.
package proxies
