package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// errInUse says that an address or the database file belongs to another process.
var errInUse = errors.New("in use by another process")

// addresses of one server. The UI's is empty when there is none.
type addresses struct {
	ip                                    string
	frontend, ui                          string // host:port
	frontendPort, uiPort, httpPort        int
	historyPort, matchingPort, workerPort int
}

// reserve finds out that the asked ports can be had, and picks the others. The
// server opens its listeners itself and ends the process when it cannot, so the
// check comes first, with an error that names the port. All sockets are held
// until the last one is found: no port is given twice.
func reserve(opts options) (a addresses, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	take := func(ip string, port int) int {
		if err != nil {
			return 0
		}
		var l net.Listener
		l, err = net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("port %d of %s: %w", port, ip, errInUse)
		}
		if err != nil {
			return 0
		}
		held = append(held, l)
		return l.Addr().(*net.TCPAddr).Port
	}
	a.ip = opts.ip
	a.frontendPort = take(opts.ip, opts.port)
	a.frontend = net.JoinHostPort(opts.ip, strconv.Itoa(a.frontendPort))
	if !opts.headless {
		a.uiPort = take(opts.ip, opts.uiPort)
		a.ui = net.JoinHostPort(opts.ip, strconv.Itoa(a.uiPort))
	}
	a.httpPort = take(opts.ip, 0)
	a.historyPort = take("127.0.0.1", 0)
	a.matchingPort = take("127.0.0.1", 0)
	a.workerPort = take("127.0.0.1", 0)
	return a, err
}
