package main

import (
	"fmt"
	"io"
	"time"
)

// A progress shows how far long work has come: on a terminal in one line that
// moves, in a log with a line for each tenth, which is all that a log wants.
type progress struct {
	out   io.Writer
	lines bool // no terminal
	what  string
	total int64
	done  int64
	since time.Time
	shown time.Time
	tenth int64
}

// meter shows work of a known size on standard error, nowhere with --quiet.
func (a *app) meter(what string, total int64) *progress {
	return &progress{out: a.notes(), lines: !a.terminal(a.Err), what: what, total: total, since: time.Now()}
}

// Write counts, so that content can be teed into it.
func (p *progress) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

// small work is over before anybody could read how it gets on.
const small = 1 << 20

func (p *progress) add(n int64) {
	p.done += n
	percent := 100 * p.done / max(p.total, 1)
	rate := float64(p.done) / max(time.Since(p.since).Seconds(), 0.001) / 1e6
	said := fmt.Sprintf("%s  %3d %%  %d of %d MB  %.0f MB/s", p.what, percent, p.done/1e6, p.total/1e6, rate)
	switch {
	case p.lines && p.total >= small && percent/10 > p.tenth:
		p.tenth = percent / 10
		fmt.Fprintln(p.out, said)
	case !p.lines && (time.Since(p.shown) >= 200*time.Millisecond || p.done >= p.total):
		p.shown = time.Now()
		fmt.Fprint(p.out, "\r"+said+" ")
	}
}

// end leaves the line to what comes.
func (p *progress) end() {
	if !p.lines && p.done > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
