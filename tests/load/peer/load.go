//go:build bench

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A load sends one request again and again.
type load struct {
	address, request string
	conns, rate      int
	time             time.Duration
}

// A figure is what a load saw. Latencies are microseconds.
type figure struct {
	Good      int64          `json:"good"`
	Bad       int64          `json:"bad"` // no answer, or no 200
	Statuses  map[string]int `json:"statuses,omitempty"`
	Seconds   float64        `json:"seconds"`
	PerSecond float64        `json:"perSecond"`
	P50       float64        `json:"p50"`
	P95       float64        `json:"p95"`
	P99       float64        `json:"p99"`
	Most      float64        `json:"most"`
}

// A worker has a connection and what was measured on it.
type worker struct {
	address  string
	conn     net.Conn
	in       *bufio.Reader
	over     bool // the other side said that it closes the connection
	took     []time.Duration
	bad      int64
	statuses map[string]int
}

func (l *load) run() (figure, error) {
	request, err := os.ReadFile(l.request)
	if err != nil {
		return figure{}, err
	}
	workers := make([]*worker, l.conns)
	for i := range workers {
		workers[i] = &worker{address: l.address, in: bufio.NewReaderSize(nil, 8<<10), took: make([]time.Duration, 0, 1<<10), statuses: map[string]int{}}
		if err := workers[i].dial(); err != nil {
			return figure{}, err
		}
		defer workers[i].close()
	}
	if l.rate == 0 { // each connection once, so that none is new when it counts
		var group sync.WaitGroup
		for _, w := range workers {
			group.Go(func() { w.once(request, time.Now()) })
		}
		group.Wait()
		for _, w := range workers {
			w.took, w.bad = w.took[:0], 0
			clear(w.statuses)
		}
	}
	began := time.Now()
	var turn atomic.Int64
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			for {
				from := time.Now()
				if l.rate > 0 { // by the clock, whether or not the last was answered
					k := turn.Add(1) - 1
					from = began.Add(time.Duration(k) * time.Second / time.Duration(l.rate))
				}
				if from.Sub(began) >= l.time {
					return
				}
				if l.rate > 0 {
					time.Sleep(time.Until(from))
				}
				if !w.once(request, from) && w.dial() != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return sum(workers, time.Since(began)), nil
}

// dial connects, again if need be.
func (w *worker) dial() (err error) {
	w.close()
	if w.conn, err = net.DialTimeout("tcp", w.address, 5*time.Second); err == nil {
		w.in.Reset(w.conn)
		w.over = false
	}
	return err
}

func (w *worker) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// once sends the request and reads an answer. It reports whether the
// connection can be used again.
func (w *worker) once(request []byte, from time.Time) bool {
	status, err := w.exchange(request)
	if err != nil {
		w.bad++
		w.statuses[err.Error()]++
		return false
	}
	if status != "200" {
		w.bad++
		w.statuses[status]++
		return !w.over
	}
	w.took = append(w.took, time.Since(from))
	return !w.over
}

func (w *worker) exchange(request []byte) (string, error) {
	if _, err := w.conn.Write(request); err != nil {
		return "", err
	}
	status, length := "", -1
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		switch {
		case status == "" && len(line) >= 12:
			status = "200"
			if got := line[9:12]; string(got) != status {
				status = string(got)
			}
		case bytes.EqualFold(line, []byte("Connection: close")):
			w.over = true
		case len(line) > 16 && bytes.EqualFold(line[:16], []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				return "", err
			}
		}
	}
	if length >= 0 {
		_, err := w.in.Discard(length)
		return status, err
	}
	return status, w.chunks()
}

func (w *worker) chunks() error {
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return fmt.Errorf("a chunk's size: %w", err)
		}
		if _, err := io.CopyN(io.Discard, w.in, size+2); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

func sum(workers []*worker, took time.Duration) figure {
	out := figure{Seconds: took.Seconds(), Statuses: map[string]int{}}
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.took...)
		out.Bad += w.bad
		for status, n := range w.statuses {
			out.Statuses[status] += n
		}
	}
	out.Good = int64(len(all))
	out.PerSecond = float64(len(all)) / took.Seconds()
	if slices.Sort(all); len(all) == 0 {
		return out
	}
	at := func(share float64) float64 { return float64(all[int(share*float64(len(all)-1))].Nanoseconds()) / 1e3 }
	out.P50, out.P95, out.P99, out.Most = at(0.5), at(0.95), at(0.99), at(1)
	return out
}
