package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A progress shows how far long work has come, on a terminal and nowhere else:
// a log wants no thousand lines.
type progress struct {
	out   io.Writer // nil: nobody looks
	what  string
	total int64
	done  int64
	since time.Time
	shown time.Time
}

// meter shows work of a known size on standard error if that is a terminal.
func (s streams) meter(what string, total int64) *progress {
	p := &progress{what: what, total: total, since: time.Now()}
	if f, ok := s.Err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.out = s.Err
		}
	}
	return p
}

// Write counts, so that content can be teed into it.
func (p *progress) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

func (p *progress) add(n int64) {
	p.done += n
	if p.out == nil || time.Since(p.shown) < 200*time.Millisecond && p.done < p.total {
		return
	}
	p.shown = time.Now()
	rate := float64(p.done) / max(time.Since(p.since).Seconds(), 0.001) / 1e6
	fmt.Fprintf(p.out, "\r%s  %3d %%  %d of %d MB  %.0f MB/s ", p.what, 100*p.done/max(p.total, 1), p.done/1e6, p.total/1e6, rate)
}

// end leaves the line to what comes.
func (p *progress) end() {
	if p.out != nil && p.done > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
