package router

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Record is a decision as it is kept: what was asked by whom, never what was
// in it.
type Record struct {
	DecisionID  string          `json:"decision_id"`
	At          time.Time       `json:"at"`
	Tenant      string          `json:"tenant"` // the caller's
	Owner       string          `json:"owner"`  // the model's
	Model       string          `json:"model"`
	Environment string          `json:"environment"`
	Version     int             `json:"version,omitempty"`
	Manifest    artifact.Digest `json:"manifest,omitempty"`
	Region      string          `json:"region,omitempty"`
	Endpoint    string          `json:"endpoint,omitempty"`
	Output      artifact.Digest `json:"output,omitempty"`
	Snapshot    int64           `json:"snapshot"`
	Policy      int64           `json:"policy"`
	TraceID     string          `json:"trace_id"`
	Status      int             `json:"status"`
	Problem     string          `json:"problem,omitempty"`
	KeyID       string          `json:"key_id,omitempty"`
	Header      string          `json:"header,omitempty"`
	Simulated   bool            `json:"simulated"`
}

const (
	recordsFile  = "decisions.jsonl"
	recordsFiles = 8       // rotated ones that are kept
	recordsBytes = 8 << 20 // of a file
	recordsQueue = 4096    // not yet written; more are dropped and counted
	maxRecord    = 16 << 10
)

// decisionID is the form of decision ids.
var decisionID = regexp.MustCompile(`^[0-9a-f]{32}-[0-9a-f]{16}$`)

// A recorder keeps decisions on disk without making a request wait for the
// disk. A crash loses what was answered in its last moments; a full disk loses
// what comes, and both are the price of answering at all: it is counted.
type recorder struct {
	dir     string
	queue   chan Record
	dropped prometheus.Counter

	mu     sync.Mutex
	recent map[string]Record // at least those in the queue
	order  []string          // of recent, a ring
	next   int
}

func openRecorder(dir string, dropped prometheus.Counter) (*recorder, error) {
	r := &recorder{dir: filepath.Join(dir, "decisions"), queue: make(chan Record, recordsQueue), dropped: dropped,
		recent: map[string]Record{}, order: make([]string, 2*recordsQueue)}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("decision records: %w", err)
	}
	return r, nil
}

// put keeps a record, in memory at once and on disk soon.
func (r *recorder) put(record Record) {
	r.mu.Lock()
	delete(r.recent, r.order[r.next])
	r.order[r.next] = record.DecisionID
	r.recent[record.DecisionID] = record
	r.next = (r.next + 1) % len(r.order)
	r.mu.Unlock()
	select {
	case r.queue <- record:
	default:
		r.dropped.Inc()
	}
}

// run writes until ctx ends, and then what is left.
func (r *recorder) run(ctx context.Context) error {
	file := recordFile{dir: r.dir}
	for {
		select {
		case record := <-r.queue:
			r.write(&file, record)
		case <-ctx.Done():
			for {
				select {
				case record := <-r.queue:
					r.write(&file, record)
				default:
					return file.close()
				}
			}
		}
	}
}

// write writes a record and those that wait behind it in one go.
func (r *recorder) write(file *recordFile, record Record) {
	var lines bytes.Buffer
	count := 0
	for more := true; more; {
		if text, err := json.Marshal(record); err == nil {
			lines.Write(append(text, '\n'))
			count++
		}
		if lines.Len() > 64<<10 {
			break
		}
		select {
		case record = <-r.queue:
		default:
			more = false
		}
	}
	if err := file.append(lines.Bytes()); err != nil {
		r.dropped.Add(float64(count))
	}
}

// find returns the record of a decision.
func (r *recorder) find(id string) (Record, bool) {
	if !decisionID.MatchString(id) {
		return Record{}, false
	}
	r.mu.Lock()
	record, ok := r.recent[id]
	r.mu.Unlock()
	if ok {
		return record, true
	}
	files := append([]string{filepath.Join(r.dir, recordsFile)}, rotated(r.dir)...)
	for _, path := range files {
		if record, ok := search(path, id); ok {
			return record, true
		}
	}
	return Record{}, false
}

func search(path, id string) (Record, bool) {
	file, err := os.Open(path)
	if err != nil {
		return Record{}, false
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, maxRecord), maxRecord)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(id)) {
			continue
		}
		var record Record
		if json.Unmarshal(lines.Bytes(), &record) == nil && record.DecisionID == id {
			return record, true
		}
	}
	return Record{}, false
}

// rotated returns the full files, newest first. Their names sort by time.
func rotated(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "decisions-*.jsonl"))
	if err != nil {
		return nil // only for a malformed pattern
	}
	slices.Sort(files)
	slices.Reverse(files)
	return files
}

// A recordFile is the file that is written to.
type recordFile struct {
	dir  string
	file *os.File
	size int64
}

func (f *recordFile) append(lines []byte) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.file.Write(lines)
	f.size += int64(n)
	if err != nil {
		return errors.Join(err, f.close()) // the next one opens it anew
	}
	if f.size < recordsBytes {
		return nil
	}
	return errors.Join(f.close(), f.rotate())
}

// open goes on with the file of an earlier process. A line that a crash cut
// short is ended, so that it spoils no other.
func (f *recordFile) open() error {
	file, err := os.OpenFile(filepath.Join(f.dir, recordsFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil && end > 0 {
		last := make([]byte, 1)
		if _, err = file.ReadAt(last, end-1); err == nil && last[0] != '\n' {
			_, err = file.Write([]byte{'\n'})
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, end
	return nil
}

func (f *recordFile) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

func (f *recordFile) rotate() error {
	to := fmt.Sprintf("decisions-%s.jsonl", strings.ReplaceAll(time.Now().UTC().Format("20060102T150405.000000000"), ".", "-"))
	if err := os.Rename(filepath.Join(f.dir, recordsFile), filepath.Join(f.dir, to)); err != nil {
		return err
	}
	var err error
	for _, old := range rotated(f.dir)[min(recordsFiles, len(rotated(f.dir))):] {
		err = errors.Join(err, os.Remove(old))
	}
	return err
}
