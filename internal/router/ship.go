package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	shipEvery   = 500 * time.Millisecond // at the latest, while there is something
	shipRecords = 2048                   // in one piece
	shipBytes   = 2 << 20
	shortPause  = 250 * time.Millisecond
	longPause   = 10 * time.Second
)

// ErrRecords says that the control plane will never take these records.
var ErrRecords = errors.New("the control plane refuses the records")

// A Sink takes records in: body is a JSON document with them, key names this
// piece of the spool. It returns the number that is waited for next. An error
// is tried again; [ErrRecords] is not.
type Sink func(ctx context.Context, key string, body []byte) (next int64, err error)

// A shipper brings the records of a spool to a sink, each until it has arrived.
// A control plane that is away, slow or full costs nothing but room on disk.
type shipper struct {
	spool    *spool
	sink     Sink
	region   string
	log      *slog.Logger
	failures prometheus.Counter
	dropped  prometheus.Counter
}

// run ships until ctx ends.
func (s *shipper) run(ctx context.Context) {
	pause := shortPause
	failing := false
	for {
		more, err := s.ship(ctx, shipRecords)
		if errors.Is(err, ErrRecords) {
			err = s.single(ctx)
		}
		wait := shipEvery
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.failures.Inc()
			if !failing { // once, not at every attempt of a long night
				s.log.Warn("decision records stay in the spool", "err", err)
			}
			failing, wait = true, pause/2+rand.N(pause)
			pause = min(2*pause, longPause)
		default:
			if failing {
				s.log.Info("decision records arrive again")
			}
			failing, pause = false, shortPause
			if more {
				continue
			}
			select { // nothing to do until something is written
			case <-ctx.Done():
				return
			case <-s.spool.grown:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ship sends the next piece of at most count records, and reports whether it was a full one.
func (s *shipper) ship(ctx context.Context, count int) (more bool, err error) {
	lines, last, err := s.spool.read(count, shipBytes)
	if err != nil || len(lines) == 0 {
		return false, err
	}
	size := 256
	for _, line := range lines {
		size += len(line) + 1
	}
	body := fmt.Appendf(make([]byte, 0, size), `{"router":%q,"region":%q,"records":[`, s.spool.id, s.region)
	for i, line := range lines {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, line...)
	}
	body = append(body, "]}"...)
	next, err := s.sink(ctx, s.spool.id+"-"+strconv.FormatInt(last, 10), body)
	if err != nil {
		return false, err
	}
	// It may have more than we sent: of a copy of this spool that lived longer.
	if next <= last {
		return false, fmt.Errorf("the control plane waits for %d after %d was sent", next, last)
	}
	return len(lines) == count, s.spool.arrived(last)
}

// single sends the records of a piece that was refused one by one, and leaves out those
// that are refused by themselves.
func (s *shipper) single(ctx context.Context) error {
	lines, last, err := s.spool.read(shipRecords, shipBytes)
	if err != nil {
		return err
	}
	for range lines {
		_, err := s.ship(ctx, 1)
		if errors.Is(err, ErrRecords) {
			one, number, failed := s.spool.read(1, 1)
			if failed != nil || len(one) == 0 {
				return failed
			}
			s.log.Error("a decision record is refused and left out", "sequence", number, "err", err)
			s.dropped.Inc()
			err = s.spool.arrived(number)
		}
		if err != nil {
			return err
		}
	}
	return s.spool.arrived(last)
}

// NewSink returns the sink behind a URL of POST /decisions. The token is sent
// if it is not empty.
func NewSink(client *http.Client, url, token string) Sink {
	return func(ctx context.Context, key string, body []byte) (int64, error) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		switch {
		case err != nil:
			return 0, err
		case resp.StatusCode == http.StatusUnprocessableEntity || resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestEntityTooLarge:
			return 0, fmt.Errorf("%w: status %d", ErrRecords, resp.StatusCode)
		case resp.StatusCode != http.StatusOK:
			return 0, fmt.Errorf("status %d", resp.StatusCode)
		}
		var said struct {
			Next int64 `json:"next"`
		}
		if err := json.Unmarshal(text, &said); err != nil {
			return 0, fmt.Errorf("the answer cannot be read: %w", err)
		}
		return said.Next, nil
	}
}
